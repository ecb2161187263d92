#!lua flags=allow-oom
-- Erase a dead letter with the turns that it answers. One that was sent again meanwhile is no dead letter, and stays.
--
-- KEYS  1 dead  2 reply
-- ARGV  1 offset ms (unused)  2 reply id  3 key prefix
-- Returns 1 when it was erased, 0 when it is none (any more).
-- include _reply
if redis.call('ZREM', KEYS[1], ARGV[2]) == 0 then return 0 end
local reply = read_reply(KEYS[2])
for turn in string.gmatch(reply and (reply.turns or ARGV[2]) or '', '[^,]+') do
  redis.call('DEL', ARGV[3] .. 'turn:' .. turn)
end
return redis.call('DEL', KEYS[2])
