#!lua flags=allow-oom
-- Settle a turn whose sender died: the transcript says whether its message is upstream.
--
-- KEYS  1 turns  2 lock  3 fingerprints  4 turn  5 directory
-- ARGV  1 offset ms  2 caller (must hold the lock)  3 turn id  4 'posted' or 'forget'
-- Returns 'posted', 'answered', 'forgotten', or 'stale' when the caller does not hold the lock.
-- include _entry
-- include _gap
local turns, lock, fingerprints, turn = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
if redis.call('GET', lock) ~= ARGV[2] then return 'stale' end
local state = redis.call('HGET', turn, 'state')
if state ~= 'posting' then return state or 'forgotten' end
if ARGV[4] == 'posted' then
  local entry = read_entry(KEYS[5])
  if entry.heard and redis.call('HGET', turn, 'message') ~= '' then
    count_message(entry, 1)
    write_entry(KEYS[5], entry)
  end
  local time = redis.call('TIME')
  redis.call('HSET', turn, 'state', 'posted', 'posted_at', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
  return 'posted'
end
local print = redis.call('HGET', turn, 'fingerprint')
if print and redis.call('HGET', fingerprints, print) == ARGV[3] then redis.call('HDEL', fingerprints, print) end
redis.call('LREM', turns, 1, ARGV[3])
redis.call('DEL', turn)
return 'forgotten'
