-- Count an upload against what its tenant may upload; if the call is repeated it counts twice, which harms nobody.
--
-- KEYS  1 uploads
-- ARGV  1 offset ms (unused)  2 bytes  3 bytes allowed within the period  4 the period, seconds
-- Returns 0 when the upload is within bounds, else the seconds until the next period.
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
if used + tonumber(ARGV[2]) > tonumber(ARGV[3]) then return math.max(1, redis.call('TTL', KEYS[1])) end
redis.call('INCRBY', KEYS[1], ARGV[2])
if used == 0 then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 0
