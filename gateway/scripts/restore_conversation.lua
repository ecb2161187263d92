-- Restore an entry of the directory, unless a turn has made one meanwhile.
--
-- KEYS  1 directory
-- ARGV  1 offset ms (unused)  2 upstream conversation id  3 directory TTL s  4.. fields
-- Returns 1 when it was restored (by this call or the one that it repeats), 0 when another one is there.
local id = redis.call('HGET', KEYS[1], 'id')
if id then return id == ARGV[2] and 1 or 0 end
redis.call('HSET', KEYS[1], 'id', ARGV[2], unpack(ARGV, 4))
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
