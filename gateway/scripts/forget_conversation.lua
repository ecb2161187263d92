-- Forget a conversation that the upstream no longer has, unless somebody has recorded another one meanwhile.
--
-- KEYS  1 directory
-- ARGV  1 offset ms (unused)  2 upstream conversation id that is gone
-- Returns 1 when it was forgotten, 0 when the directory names another (or none).
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'id')
return 1
