-- Hand a claim back unused, so that another process takes it at once; the attempt does not count.
--
-- KEYS  1 due  2 reply
-- ARGV  1 offset ms (unused)  2 member  3 fence
-- Returns 1 when it was handed back, 0 when the lease had passed to another.
local fields = redis.call('HMGET', KEYS[2], 'fence', 'lease_until', 'due')
if fields[1] ~= ARGV[3] or not fields[2] then return 0 end
redis.call('HDEL', KEYS[2], 'lease_until')
redis.call('HINCRBY', KEYS[2], 'attempts', -1)
redis.call('ZADD', KEYS[1], fields[3] or 0, ARGV[2])
return 1
