#!lua flags=allow-oom
-- Send a dead letter again, under its id and with its body: its attempts and its age start anew. It goes beside the
-- conversation's line and not into it, since what waits there may wait for hours.
--
-- KEYS  1 due  2 dead  3 reply
-- ARGV  1 offset ms  2 reply id  3 reply TTL s
-- Returns 1 when it was queued, 0 when it is no dead letter (any more): expired, or queued by the call this repeats.
-- include _due
-- include _reply
if redis.call('ZREM', KEYS[2], ARGV[2]) == 0 then return 0 end
local reply = read_reply(KEYS[3])
if not reply or not reply.died_at then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
reply.died_at, reply.reason, reply.attempts, reply.takeovers, reply.base, reply.due = nil, nil, 0, 0, now, now
write_reply(KEYS[3], reply)
redis.call('EXPIRE', KEYS[3], ARGV[3])
schedule(KEYS[1], tenant_of(reply), ARGV[2], now)
return 1
