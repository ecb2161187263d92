#!lua flags=allow-oom
-- Claim what has fallen due on one shard. A claim re-scores at now + lease instead of removing: the work of a process
-- that dies comes back by itself. Claiming freezes a reply: every attempt sends the same segments. A full store still
-- delivers (`allow-oom`), since that is what makes room.
--
-- KEYS  1 due  2 fence
-- ARGV  1 offset ms  2 key prefix  3 lease ms  4 most items
-- Returns {now ms, next due ms or '', {reply id, hash fields...}...}. Among the fields: `attempts` counts this claim,
-- `takeovers` the claims before it that nobody settled, `fence` names it.
-- Sent again after a lost answer, it leaves what it had claimed to the lease.
local due, prefix = KEYS[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local claimed = {}
for _, member in ipairs(redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
  local id = string.sub(member, 3)
  local reply = prefix .. 'reply:' .. id
  if redis.call('EXISTS', reply) == 0 then
    redis.call('ZREM', due, member)
  else
    if redis.call('HEXISTS', reply, 'lease_until') == 1 then redis.call('HINCRBY', reply, 'takeovers', 1) end
    local fence = redis.call('INCR', KEYS[2])
    redis.call('HSET', reply, 'fence', fence, 'lease_until', now + ARGV[3])
    redis.call('HSETNX', reply, 'frozen', fence)
    redis.call('HINCRBY', reply, 'attempts', 1)
    redis.call('ZADD', due, now + ARGV[3], member)
    claimed[#claimed + 1] = {id, unpack(redis.call('HGETALL', reply))}
  end
end
local following = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
return {now, following[2] or '', unpack(claimed)}
