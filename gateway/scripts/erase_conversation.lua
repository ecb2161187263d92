#!lua flags=allow-oom
-- Erase all that is kept of a conversation but its dead letters: its entry, its turns, its replies on their way, its
-- pull. Whatever is under way finds nothing to go on with, and its outcome is not recorded.
--
-- KEYS  1 directory  2 turns  3 fingerprints  4 outbox  5 pull  6 seen  7 orphans  8 due  9 pulls
-- ARGV  1 offset ms (unused)  2 key prefix  3 conversation digest
-- Returns how many keys were erased.
-- include _due
-- include _entry
-- include _reply
local prefix, erased = ARGV[2], 0
local function erase(key) erased = erased + redis.call('DEL', key) end
local answering = read_entry(KEYS[1]).answering
if answering then erase(prefix .. 'turn:' .. answering) end
for _, id in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do erase(prefix .. 'turn:' .. id) end
for _, id in ipairs(redis.call('HVALS', KEYS[3])) do erase(prefix .. 'turn:' .. id) end
for _, id in ipairs(redis.call('LRANGE', KEYS[4], 0, -1)) do
  local key = prefix .. 'reply:' .. id
  local reply = read_reply(key)
  if reply then
    unschedule(KEYS[8], tenant_of(reply), id)
    for turn in string.gmatch(reply.turns or id, '[^,]+') do erase(prefix .. 'turn:' .. turn) end
  end
  erase(key)
end
redis.call('ZREM', KEYS[9], ARGV[3], ARGV[3] .. ':gap')
erase(KEYS[5] .. ':gap')
for number = 1, 7 do erase(KEYS[number]) end
return erased
