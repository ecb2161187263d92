#!lua flags=allow-oom
-- Record that the upstream has taken the message, and let the conversation's next turn speak.
--
-- KEYS  1 directory  2 turns  3 lock  4 turn
-- ARGV  1 offset ms  2 caller  3 upstream conversation id  4 webhook  5 meta  6 directory TTL s  7.. directory fields
-- Returns the turn's state: 'posted', 'answered' (the reply outran the upstream's 202), or 'lost' when this caller's
-- lease has passed to another, who found no trace of the message and forgot the turn.
local directory, lock, turn = KEYS[1], KEYS[3], KEYS[4]
local state = redis.call('HGET', turn, 'state')
if redis.call('GET', lock) ~= ARGV[2] then return state or 'lost' end
if state == 'posting' then
  local time = redis.call('TIME')
  state = 'posted'
  redis.call('HSET', turn, 'state', state, 'posted_at', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
end
redis.call('HSET', directory, 'id', ARGV[3], 'meta', ARGV[5], unpack(ARGV, 7))
if ARGV[4] ~= '' then redis.call('HSET', directory, 'webhook', ARGV[4]) end
redis.call('EXPIRE', directory, ARGV[6])
redis.call('DEL', lock)
return state or 'lost'
