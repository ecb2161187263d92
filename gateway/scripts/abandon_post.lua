#!lua flags=allow-oom
-- Give up posting: forget the turn (the message surely is not upstream), or leave it unsettled for the client's retry.
--
-- KEYS  1 turns  2 lock  3 fingerprints  4 turn  5 directory
-- ARGV  1 offset ms (unused)  2 caller  3 turn id  4 'forget' or 'leave'
--       5 digest by which the conversation's tail remembers the message, '' for one that it does not
-- Returns the turn's state after it: 'forgotten', 'unsettled', 'stale' (the lease has passed to another), or
-- 'answered' or 'delivered' (another request has proved that the upstream has it, and the reply has come).
-- include _entry
-- include _tail
-- include _gap
local turns, lock, fingerprints, turn = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local held = redis.call('GET', lock) == ARGV[2]
local state = redis.call('HGET', turn, 'state')
if held then redis.call('DEL', lock) end
local is_over = state == 'answered' or state == 'delivered'
-- What came while it was being posted may be a late segment of the reply before: it proves nothing.
if is_over and redis.call('HEXISTS', turn, 'unproven') == 0 then return state end
if not held and state ~= 'queued' then return 'stale' end
if ARGV[4] == 'leave' and state ~= 'queued' then return 'unsettled' end
if is_over then
  local entry = read_entry(KEYS[5])
  if redis.call('HGET', turn, 'message') ~= '' then count_message(entry, -1) end
  if ARGV[5] ~= '' then forget_note(entry, ARGV[5]) end
  write_entry(KEYS[5], entry)
end
local known, left = redis.call('HMGET', turn, 'fingerprint', 'keep', 'reply'), redis.call('TTL', turn)
if known[1] and redis.call('HGET', fingerprints, known[1]) == ARGV[3] then
  redis.call('HDEL', fingerprints, known[1])
end
redis.call('LREM', turns, 1, ARGV[3])
redis.call('DEL', turn)
if known[2] and known[3] then -- its client may send it again by this name, which a reply bears already
  redis.call('HSET', turn, 'reply', known[3])
  redis.call('EXPIRE', turn, left)
end
return 'forgotten'
