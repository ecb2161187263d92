#!lua flags=allow-oom
-- Take an entry out of the list of dead letters when its letter is gone. One that died (again) meanwhile stays.
--
-- KEYS  1 dead  2 reply
-- ARGV  1 offset ms  2 reply id
-- Returns 1 when it was taken out, 0 when there was nothing to take out.
-- include _reply
local reply = read_reply(KEYS[2])
if reply and reply.died_at then return 0 end
return redis.call('ZREM', KEYS[1], ARGV[2])
