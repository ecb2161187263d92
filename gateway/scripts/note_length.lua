-- Tell whether a conversation has grown long since that was last told of it, and note that it was.
--
-- KEYS  1 directory
-- ARGV  1 offset ms (unused)  2 by how many messages it must have grown
-- Returns 1 when it has, 0 when it has not, or when it is not known how many messages there are.
local fields = redis.call('HMGET', KEYS[1], 'count', 'compacted')
local count = tonumber(fields[1] or '')
if not count or count - (tonumber(fields[2] or '') or 0) < tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'compacted', count)
return 1
