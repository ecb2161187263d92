#!lua flags=allow-oom
-- Record that the upstream has the message, and let the conversation's next turn speak.
--
-- KEYS  1 directory  2 lock  3 turn  4 fingerprints  5 turns  6 pulls  7 pull
-- ARGV  1 offset ms  2 caller  3 upstream conversation id  4 webhook, '' for none  5 meta  6 directory TTL s
--       7 longest tail, in characters  8 turn id  9 key prefix  10 '1' when an earlier attempt had posted it
--       11 how long a turn that is over is remembered, s  12 conversation digest
--       13 silence after which the reply is looked for ms, '' for never  14 sealed: what the one who looks needs
--       15 turn TTL s  16.. parts of the directory's entry: name, value
-- Returns the turn's state: 'posted', 'answered' or 'delivered' (the reply outran the upstream's word), or 'lost' when
-- this caller's lease has passed to another, who found no trace of the message and forgot the turn.
-- include _entry
-- include _gap
-- include _tail
local directory, lock, turn, fingerprints, turns, id = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[8]
local posting = redis.call('HMGET', turn, 'state', 'message')
local state, entry = posting[1], read_entry(directory)
local holder = redis.call('GET', lock)
if holder ~= ARGV[2] then
  -- A lease that has run out unnoticed is as good as held, but for a conversation that was replaced meanwhile.
  if holder or state ~= 'posting' or (entry.id and entry.id ~= ARGV[3]) then return state or 'lost' end
end
local is_over = redis.call('HDEL', turn, 'unproven') == 1
if state == 'posting' then
  if posting[2] ~= '' then count_message(entry, 1) end
  state = 'posted'
  local time = redis.call('TIME')
  redis.call('HSET', turn, 'posted_at', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
  local note = redis.call('HGET', turn, 'note') or ''
  if note ~= '' then note_message(entry, note, ARGV[7]) end
  local reply = ARGV[10] ~= '' and redis.call('HGET', turn, 'reply')
  if reply then -- what came for it while it was being posted was its answer
    is_over, state = true, 'answered'
    redis.call('LREM', turns, 1, id)
    if redis.call('HEXISTS', turn, 'count') == 1 then
      entry.answering = id
    elseif redis.call('EXISTS', ARGV[9] .. 'reply:' .. reply) == 0 then
      state = 'delivered'
    end
  end
  redis.call('HSET', turn, 'state', state)
end
if is_over and state == 'delivered' then -- an identical request is a new turn from now on
  local print = redis.call('HGET', turn, 'fingerprint')
  if print and redis.call('HGET', fingerprints, print) == id then redis.call('HDEL', fingerprints, print) end
  if redis.call('HEXISTS', turn, 'keep') == 0 then redis.call('EXPIRE', turn, ARGV[11]) end
end
if state == 'posted' and ARGV[13] ~= '' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
  -- `claims`: whoever claims it is not the first, and looks at what the upstream holds.
  redis.call('HSET', KEYS[7], 'upstream', ARGV[3], 'message', redis.call('HGET', turn, 'message') or '',
    'sealed', ARGV[14], 'meta', ARGV[5], 'asked', id, 'claims', 1)
  redis.call('EXPIRE', KEYS[7], ARGV[15])
  redis.call('HDEL', KEYS[7], 'failures') -- those of a message before, which may be looked for earlier, not later
  redis.call('ZADD', KEYS[6], 'LT', now + ARGV[13], ARGV[12])
end
-- A reply that has come, or an earlier one, may lack something: its key is the one that it was looked for with.
local is_missing = entry.heard and entry.told and entry.told > entry.heard
if ARGV[14] ~= '' and entry.told and (is_missing or state ~= 'posted') then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
  watch(ARGV[9], ARGV[12], {ARGV[14], ARGV[5]}, ARGV[3], is_missing, now, ARGV[15])
end
entry.id, entry.meta = ARGV[3], ARGV[5]
if ARGV[4] ~= '' then entry.webhook = ARGV[4] end
put_parts(entry, ARGV, 16)
write_entry(directory, entry, ARGV[6])
redis.call('DEL', lock)
return state or 'lost'
