-- Keep an uploaded picture for a while.
--
-- KEYS  1 picture
-- ARGV  1 offset ms (unused)  2 tenant  3 media type  4 bytes in base64  5 time to live, seconds
redis.call('HSET', KEYS[1], 'tenant', ARGV[2], 'type', ARGV[3], 'data', ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
