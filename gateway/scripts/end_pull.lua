#!lua flags=allow-oom
-- End a claim: the reply is there, or it is to be tried again, or this process cannot go on with it.
--
-- KEYS  1 pulls  2 pull
-- ARGV  1 offset ms  2 what: conversation digest, ':gap' behind it or not  3 fence  4 'done', 'retry' or 'release'
--       5 turn id that was asked for when the pull began, or ''  6 pause ms
-- Returns 'done'   nothing is to be pulled any more; what was kept for it is gone
--         'again'  it is to be pulled again: the user has spoken meanwhile, or a failure is to be made good
--         'stale'  the lease has passed to another: nothing was written
local pulls, pull, digest, outcome = KEYS[1], KEYS[2], ARGV[2], ARGV[4]
local fields = redis.call('HMGET', pull, 'fence', 'lease_until', 'asked')
if not fields[1] then return 'done' end -- by the call that this one repeats
if fields[1] ~= ARGV[3] then return 'stale' end
if not fields[2] then return 'again' end
if outcome == 'done' and (fields[3] or '') == ARGV[5] then
  redis.call('DEL', pull)
  redis.call('ZREM', pulls, digest)
  return 'done'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
redis.call('HDEL', pull, 'lease_until')
if outcome == 'done' then
  redis.call('HDEL', pull, 'claims', 'failures', 'takeovers')
else
  redis.call('HSET', pull, 'takeovers', 0)
  if outcome == 'retry' then redis.call('HINCRBY', pull, 'failures', 1) end
end
redis.call('ZADD', pulls, now + ARGV[6], digest)
return 'again'
