#!lua flags=allow-oom
-- Hand a claim back unused, so that another process takes it at once or after a pause; the attempt does not count, and
-- a reply that this claim froze may take more segments again.
--
-- KEYS  1 due  2 reply
-- ARGV  1 offset ms  2 reply id  3 fence  4 pause ms, 0 for none
-- Returns 1 when it was handed back (by this call or the one that it repeats), 0 when the lease had passed to another.
-- include _due
local fields = redis.call('HMGET', KEYS[2], 'fence', 'lease_until', 'due', 'frozen', 'tenant')
if fields[1] ~= ARGV[3] then return 0 end
if not fields[2] then return 1 end
redis.call('HDEL', KEYS[2], 'lease_until')
redis.call('HINCRBY', KEYS[2], 'attempts', -1)
if fields[4] == ARGV[3] then redis.call('HDEL', KEYS[2], 'frozen') end
local back = fields[3]
if ARGV[4] ~= '0' then
  local time = redis.call('TIME')
  back = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1] + ARGV[4]
end
schedule(KEYS[1], fields[5], ARGV[2], back) -- `due` in the hash stays: what is late stays so
return 1
