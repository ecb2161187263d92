#!lua
-- Have a conversation's reply pulled: prepared before its message is sent, so that a crash in between is noticed, and
-- asked for once the upstream has taken the message. 'look' asks, too, where the bot may have spoken already.
--
-- KEYS  1 pulls  2 pull
-- ARGV  1 offset ms  2 conversation digest  3 'prepare', 'ask' or 'look'  4 turn id  5 upstream conversation id
--       6 sealed: what the one who pulls needs  7 meta  8 message digest  9 how long a prepared pull waits ms  10 TTL s
-- Returns when it falls due (Unix ms); of a pull that is under way, when its lease ends.
local pulls, pull, digest = KEYS[1], KEYS[2], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
redis.call('HSET', pull, 'upstream', ARGV[5], 'message', ARGV[8])
if ARGV[3] == 'prepare' then
  redis.call('HSETNX', pull, 'sealed', ARGV[6]) -- of a message before, which may be asked for just now
  redis.call('HSETNX', pull, 'meta', ARGV[7])
  redis.call('ZADD', pulls, 'NX', now + ARGV[9], digest)
else
  redis.call('HSET', pull, 'sealed', ARGV[6], 'meta', ARGV[7], 'asked', ARGV[4])
  redis.call('HDEL', pull, 'failures') -- those of a message before
  if ARGV[3] == 'look' and redis.call('HEXISTS', pull, 'claims') == 0 then redis.call('HSET', pull, 'claims', 1) end
  -- Where one is under way, its end will see that more was asked for meanwhile.
  if redis.call('HEXISTS', pull, 'lease_until') == 0 then redis.call('ZADD', pulls, now, digest) end
end
redis.call('EXPIRE', pull, ARGV[10])
return redis.call('ZSCORE', pulls, digest)
