#!lua flags=no-writes
-- Count a shard's replies, for metrics and for the bounds on what may wait.
--
-- KEYS  1 due  2 dead
-- ARGV  1 offset ms
-- Returns {conversations with a reply under way, those of them that have fallen due and are not claimed, dead letters,
-- {tenant, its conversations with a reply under way...}}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local pending, due, tenants = 0, 0, {}
for index, value in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')) do
  local replies = KEYS[1] .. ':' .. value
  if index % 2 == 1 then
    local count = redis.call('ZCARD', replies)
    tenants[#tenants + 1] = value
    tenants[#tenants + 1] = count
    pending = pending + count
    due = due + redis.call('ZCOUNT', replies, '-inf', now)
  end
end
return {pending, due, redis.call('ZCARD', KEYS[2]), tenants}
