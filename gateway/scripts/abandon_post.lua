#!lua flags=allow-oom
-- Give up posting: forget the turn (the message surely is not upstream), or leave it unsettled for the client's retry.
--
-- KEYS  1 turns  2 lock  3 fingerprints  4 turn
-- ARGV  1 offset ms (unused)  2 caller  3 turn id  4 'forget' or 'leave'
-- Returns the turn's state after it: 'forgotten', 'unsettled', 'stale' (the lease has passed to another), or
-- 'answered' or 'delivered' (another request has proved that the upstream has it, and the reply has come).
local turns, lock, fingerprints, turn = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local held = redis.call('GET', lock) == ARGV[2]
local state = redis.call('HGET', turn, 'state')
if held then redis.call('DEL', lock) end
local is_over = state == 'answered' or state == 'delivered'
-- What came while it was being posted may be a late segment of the reply before: it proves nothing.
if is_over and redis.call('HEXISTS', turn, 'unproven') == 0 then return state end
if not held and state ~= 'queued' then return 'stale' end
if ARGV[4] == 'leave' and state ~= 'queued' then return 'unsettled' end
local print = redis.call('HGET', turn, 'fingerprint')
if print and redis.call('HGET', fingerprints, print) == ARGV[3] then redis.call('HDEL', fingerprints, print) end
redis.call('LREM', turns, 1, ARGV[3])
redis.call('DEL', turn)
return 'forgotten'
