#!lua
-- Name a request by the key that its client gave it: every repetition is the same turn.
--
-- KEYS  1 idempotency
-- ARGV  1 offset ms (unused)  2 fingerprint of the request  3 turn id for a first one  4 TTL s
-- Returns {'same', turn id}, or {'other'} when the key names another request.
if redis.call('HSETNX', KEYS[1], 'fingerprint', ARGV[2]) == 1 then
  redis.call('HSET', KEYS[1], 'turn', ARGV[3])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
elseif redis.call('HGET', KEYS[1], 'fingerprint') ~= ARGV[2] then
  return {'other'}
end
return {'same', redis.call('HGET', KEYS[1], 'turn')}
