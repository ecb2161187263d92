#!lua flags=allow-oom
-- Read a shard's breakers that are not closed; those that have expired are taken out.
--
-- KEYS  1 breakers
-- ARGV  1 offset ms  2 key prefix
-- Returns {now ms, {tenant, host, failures, ms until which it lets nothing through, '1' when a probe is under way}...}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local answer = {now}
for _, digest in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local known = redis.call('HMGET', ARGV[2] .. 'breaker:' .. digest, 'tenant', 'host', 'failures', 'until', 'probe')
  if known[4] then
    answer[#answer + 1] = {known[1], known[2], known[3], known[4], known[5] and '1' or ''}
  else
    redis.call('ZREM', KEYS[1], digest)
  end
end
return answer
