#!lua flags=no-writes
-- Count a shard's replies, for metrics.
--
-- KEYS  1 due  2 dead
-- ARGV  1 offset ms
-- Returns {conversations with a reply under way, those of them that have fallen due and are not claimed, dead letters}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
return {redis.call('ZCARD', KEYS[1]), redis.call('ZCOUNT', KEYS[1], '-inf', now), redis.call('ZCARD', KEYS[2])}
