#!lua flags=allow-oom
-- Send a dead letter again, under its id and with its body: its attempts and its age start anew. It goes beside the
-- conversation's line and not into it, since what waits there may wait for hours.
--
-- KEYS  1 due  2 dead  3 reply
-- ARGV  1 offset ms  2 reply id  3 reply TTL s
-- Returns 1 when it was queued, 0 when it is no dead letter (any more): expired, or queued by the call this repeats.
-- include _due
if redis.call('ZREM', KEYS[2], ARGV[2]) == 0 then return 0 end
if redis.call('HDEL', KEYS[3], 'died_at', 'reason') == 0 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
redis.call('HSET', KEYS[3], 'attempts', 0, 'takeovers', 0, 'base', now, 'due', now)
redis.call('EXPIRE', KEYS[3], ARGV[3])
schedule(KEYS[1], redis.call('HGET', KEYS[3], 'tenant'), ARGV[2], now)
return 1
