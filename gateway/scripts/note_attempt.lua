#!lua flags=allow-oom
-- Tell a breaker how an attempt ended. So many failures in a row open it; from then on only the probe that was let
-- through opens it anew, for twice as long, and any success closes it.
--
-- KEYS  1 breaker  2 breakers
-- ARGV  1 offset ms  2 lane digest  3 tenant  4 host  5 '1' when the attempt failed  6 name of the attempt
--       7 failures that open it  8 first pause ms  9 longest pause ms  10 TTL s, beyond the pause of an open one
-- Returns {'closed'|'open', ms at which a probe may go (0 when closed), '1' when this call changed it, failures}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local known = redis.call('HMGET', KEYS[1], 'until', 'pause', 'probe', 'last', 'failures')
local open_until = tonumber(known[1])
local failures = tonumber(known[5] or 0)
if ARGV[5] ~= '1' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[2])
  return {'closed', 0, open_until and '1' or '', failures}
end
if known[4] == ARGV[6] or (open_until and known[3] ~= ARGV[6]) then
  return {open_until and 'open' or 'closed', open_until or 0, '', failures}
end
failures = failures + 1
redis.call('HSET', KEYS[1], 'tenant', ARGV[3], 'host', ARGV[4], 'last', ARGV[6], 'failures', failures)
redis.call('EXPIRE', KEYS[1], ARGV[10])
if not open_until and failures < tonumber(ARGV[7]) then return {'closed', 0, '', failures} end

local pause = open_until and math.min(2 * known[2], tonumber(ARGV[9])) or tonumber(ARGV[8])
redis.call('HSET', KEYS[1], 'until', now + pause, 'pause', pause)
redis.call('HDEL', KEYS[1], 'probe', 'probe_until')
redis.call('EXPIRE', KEYS[1], ARGV[10] + math.ceil(pause / 1000))
redis.call('ZADD', KEYS[2], now + pause, ARGV[2])
return {'open', now + pause, '1', failures}
