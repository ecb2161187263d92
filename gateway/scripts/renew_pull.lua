#!lua flags=allow-oom
-- Hold a claim for longer.
--
-- KEYS  1 pulls  2 pull
-- ARGV  1 offset ms  2 what: conversation digest, ':gap' behind it or not  3 fence  4 lease ms
-- Returns {1, turn id that is asked for now or ''}, or {0, ''} when the lease has passed to another.
local fields = redis.call('HMGET', KEYS[2], 'fence', 'lease_until', 'asked')
if fields[1] ~= ARGV[3] or not fields[2] then return {0, ''} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
redis.call('HSET', KEYS[2], 'lease_until', now + ARGV[4])
redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[2])
return {1, fields[3] or ''}
