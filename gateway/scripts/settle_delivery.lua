-- Record the outcome of an attempt and let the conversation's next reply leave.
--
-- KEYS  1 due  2 dead  3 reply  4 outbox  5 fingerprints
-- ARGV  1 offset ms  2 key prefix  3 reply id  4 fence  5 'delivered', 'retry' or 'dead'
--       6 pause ms before the next attempt  7 reason  8 HTTP status or ''  9 body, kept so that a retry sends its bytes
--       10 dead letter TTL s
-- Returns 'ok', 'stale' (the lease has passed to another) or 'gone' (settled already: a re-sent call).
local due, dead, reply, outbox, fingerprints = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local prefix, id, outcome = ARGV[2], ARGV[3], ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local fields = redis.call('HMGET', reply, 'fence', 'lease_until', 'turns')
if not fields[1] then return 'gone' end
if fields[1] ~= ARGV[4] or not fields[2] then return 'stale' end
redis.call('HDEL', reply, 'lease_until')
redis.call('HSET', reply, 'reason', ARGV[7], 'status', ARGV[8], 'takeovers', 0)
if outcome == 'retry' then
  redis.call('HSET', reply, 'body', ARGV[9], 'due', now + ARGV[6])
  redis.call('ZADD', due, now + ARGV[6], 'd:' .. id)
  return 'ok'
end
redis.call('ZREM', due, 'd:' .. id)
redis.call('LREM', outbox, 1, id)
local following = redis.call('LINDEX', outbox, 0)
if following and not redis.call('ZSCORE', due, 'd:' .. following) then
  local at = redis.call('HGET', prefix .. 'reply:' .. following, 'due')
  if at then redis.call('ZADD', due, at, 'd:' .. following) else redis.call('LPOP', outbox) end
end
-- The turns are over: an identical request is a new turn from now on.
for turn in string.gmatch(fields[3] or '', '[^,]+') do
  local print = redis.call('HGET', prefix .. 'turn:' .. turn, 'fingerprint')
  if print and redis.call('HGET', fingerprints, print) == turn then redis.call('HDEL', fingerprints, print) end
  redis.call('DEL', prefix .. 'turn:' .. turn)
end
if outcome == 'delivered' then
  redis.call('DEL', reply)
else
  redis.call('HSET', reply, 'body', ARGV[9], 'died_at', now)
  redis.call('EXPIRE', reply, ARGV[10])
  redis.call('ZADD', dead, now, id)
end
return 'ok'
