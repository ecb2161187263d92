#!lua flags=allow-oom
-- Claim the replies of one shard that are to be pulled now. A claim re-scores at now + lease: the work of a process that
-- dies comes back by itself.
--
-- KEYS  1 pulls  2 fence
-- ARGV  1 offset ms  2 key prefix  3 lease ms  4 most items
-- Returns {now ms, next due ms or '', {what, posted turns, hash fields...}...}; what: the conversation's digest, with
-- ':gap' behind it where a message is to be looked for that no callback has brought. Among the fields: `claims`
-- counts those since the reply was last asked for, `takeovers` the ones in a row that nobody ended, `fence` names this
-- one. `posted turns` says how many messages of the user await a reply.
local pulls, prefix = KEYS[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local claimed = {}
for _, what in ipairs(redis.call('ZRANGE', pulls, '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[4])) do
  local pull = prefix .. 'pull:' .. what
  if redis.call('EXISTS', pull) == 0 then
    redis.call('ZREM', pulls, what)
  else
    if redis.call('HEXISTS', pull, 'lease_until') == 1 then redis.call('HINCRBY', pull, 'takeovers', 1) end
    redis.call('HINCRBY', pull, 'claims', 1)
    redis.call('HSET', pull, 'fence', redis.call('INCR', KEYS[2]), 'lease_until', now + ARGV[3])
    redis.call('ZADD', pulls, now + ARGV[3], what)
    local posted = 0
    for _, turn in ipairs(redis.call('LRANGE', prefix .. 'turns:' .. string.sub(what, 1, 32), 0, -1)) do
      if redis.call('HGET', prefix .. 'turn:' .. turn, 'state') == 'posted' then posted = posted + 1 end
    end
    claimed[#claimed + 1] = {what, posted, unpack(redis.call('HGETALL', pull))}
  end
end
local following = redis.call('ZRANGE', pulls, 0, 0, 'WITHSCORES')
return {now, following[2] or '', unpack(claimed)}
