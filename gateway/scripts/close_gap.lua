#!lua flags=allow-oom
-- End a look at what the upstream holds: whatever it had told of by then is known now, or is not to be had.
--
-- KEYS  1 pulls  2 gap  3 directory  4 turns
-- ARGV  1 offset ms  2 what is ended: conversation digest and ':gap'  3 fence  4 upstream conversation id
--       5 how many messages are accounted for by this look  6 key prefix
-- Returns 'done', 'again' when something else is missing by now, or 'stale' when the lease has passed to another.
-- include _entry
-- include _gap
local pulls, gap, directory, member = KEYS[1], KEYS[2], KEYS[3], ARGV[2]
local fields = redis.call('HMGET', gap, 'fence', 'lease_until')
if not fields[1] then return 'done' end -- by the call that this one repeats
if fields[1] ~= ARGV[3] then return 'stale' end
if not fields[2] then return redis.call('ZSCORE', pulls, member) and 'again' or 'done' end
local entry = read_entry(directory)
redis.call('HDEL', gap, 'lease_until', 'claims', 'failures', 'takeovers')
-- A message that is being posted, or whose sender died, may be among them, and is counted when its fate is known: until
-- then nothing is, and the next callback has another look.
local in_doubt = false
for _, id in ipairs(redis.call('LRANGE', KEYS[4], 0, -1)) do
  in_doubt = in_doubt or redis.call('HGET', ARGV[6] .. 'turn:' .. id, 'state') == 'posting'
end
if entry.id == ARGV[4] and entry.heard and not in_doubt then
  entry.heard = math.max(entry.heard, ARGV[5])
  write_entry(directory, entry)
  if entry.told and entry.told > entry.heard then
    local time = redis.call('TIME')
    redis.call('ZADD', pulls, time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1] + GRACE_MS, member)
    return 'again'
  end
end
redis.call('HDEL', gap, 'noticed')
redis.call('ZREM', pulls, member)
redis.call('EXPIRE', gap, LINGER_SECONDS)
return 'done'
