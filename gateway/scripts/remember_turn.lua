#!lua flags=allow-oom
-- Remember that a turn's client was not answered: the same request joins it once, even after its reply has gone out.
--
-- KEYS  1 turn  2 fingerprints
-- ARGV  1 offset ms (unused)  2 turn id  3 how long a turn that is over is remembered for this, s
-- Returns the turn's state, or 'forgotten'. Of one that is being posted the transcript will tell: nothing is changed.
local turn, fingerprints = KEYS[1], KEYS[2]
local known = redis.call('HMGET', turn, 'state', 'fingerprint')
local state = known[1]
if state ~= 'posted' and state ~= 'answered' and state ~= 'delivered' then return state or 'forgotten' end
redis.call('HSET', turn, 'unacknowledged', 1)
if state == 'delivered' and known[2] then -- the same request was a new turn until now
  redis.call('HSETNX', fingerprints, known[2], ARGV[2])
  for _, key in ipairs(KEYS) do
    if redis.call('TTL', key) < tonumber(ARGV[3]) then redis.call('EXPIRE', key, ARGV[3]) end
  end
end
return state
