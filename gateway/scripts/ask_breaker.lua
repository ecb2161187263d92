#!lua flags=allow-oom
-- Ask whether an attempt may go: always when the breaker is closed, one as a probe when its pause is over.
--
-- KEYS  1 breaker
-- ARGV  1 offset ms  2 name of the attempt  3 ms that a probe may take, after which another one may go
-- Returns {'closed', 0, ''}, {'probe', 0, '1' when it is the first after the pause}, or {'open', ms of the next try, ''}.
local PROBE_CHECK_MS = 5000 -- a probe that succeeds lets the others go

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local known = redis.call('HMGET', KEYS[1], 'until', 'probe', 'probe_until')
local open_until, probe_until = tonumber(known[1]), tonumber(known[3] or 0)
if not open_until then return {'closed', 0, ''} end
if now < open_until then return {'open', open_until, ''} end
if known[2] and known[2] ~= ARGV[2] and now < probe_until then
  return {'open', math.min(probe_until, now + PROBE_CHECK_MS), ''}
end
redis.call('HSET', KEYS[1], 'probe', ARGV[2], 'probe_until', now + ARGV[3])
return {'probe', 0, known[2] and '' or '1'}
