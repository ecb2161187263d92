-- Claim what has fallen due on one shard. A claim re-scores at now + lease instead of removing: the work of a process
-- that dies comes back by itself. Claiming freezes a reply: every attempt sends the same segments.
--
-- KEYS  1 due  2 fence
-- ARGV  1 offset ms  2 key prefix  3 lease ms  4 most items
-- Returns {now ms, next due ms or '', {member, due ms, fence, hash fields...}...}. `attempts` counts this claim.
local due, prefix = KEYS[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local claimed = {}
local ready = redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[4], 'WITHSCORES')
for index = 1, #ready, 2 do
  local member = ready[index]
  local item = prefix .. 'reply:' .. string.sub(member, 3)
  if redis.call('EXISTS', item) == 0 then
    redis.call('ZREM', due, member)
  else
    if redis.call('HEXISTS', item, 'lease_until') == 1 then redis.call('HINCRBY', item, 'takeovers', 1) end
    local fence = redis.call('INCR', KEYS[2])
    redis.call('HSET', item, 'fence', fence, 'lease_until', now + ARGV[3], 'frozen', 1)
    redis.call('HINCRBY', item, 'attempts', 1)
    redis.call('ZADD', due, now + ARGV[3], member)
    claimed[#claimed + 1] = {member, ready[index + 1], fence, unpack(redis.call('HGETALL', item))}
  end
end
local next_due = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
return {now, next_due[2] or '', unpack(claimed)}
