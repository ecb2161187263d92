#!lua
-- Open a turn, join the identical one that is still open, or go on waiting for a place: idempotent, polled by waiters.
-- The lock makes the turns of one conversation speak to the upstream one at a time, in the order of their acceptance.
--
-- KEYS  1 directory  2 turns  3 lock  4 fingerprints
-- ARGV  1 offset ms  2 key prefix  3 turn id  4 caller (owner token of this request)  5 fingerprint
--       6 webhook, '' for a turn whose client waits for the answer  7 drawn delay ms  8 min delay ms
--       9 settle ms  10 meta  11 message digest  12 sent_at s
--       13 lock lease ms  14 patience ms: how long a waiter counts as alive  15 most open turns  16 turn TTL s
--       17 how long a turn may await its reply before it no longer holds up others, ms
--       18 digest by which the conversation's tail will remember the message, '' for one that it will not
--       19 '1' for a turn that is remembered after its reply has gone out
--       20 id of the turn that this request was told to wait for, '' at first
-- Returns one of
--   {'full'}                                     the conversation has as many open turns as it may
--   {'joined', turn id, drawn delay ms}          the same request is already with the upstream, or was
--   {'wait', turn id, lock's remaining ms}       another turn goes first: call again
--   {'enter', turn id, drawn delay ms, unsettled, unanswered, id, user, tail, count, context, facts}
--       the caller holds the lock; `unsettled` lists {turn id, message digest, sent_at} of turns whose sender died
--       between opening and recording: the upstream's transcript decides about them before anything is posted;
--       `unanswered` counts the earlier turns whose reply has not reached the client; the rest is the directory's,
--       null where it knows none
-- include _entry
-- include _tail
-- include _gap
local directory, turns, lock, fingerprints = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, caller, fingerprint = ARGV[2], ARGV[4], ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local function turn_key(id) return prefix .. 'turn:' .. id end
local function forget(id)
  redis.call('LREM', turns, 1, id)
  local print = redis.call('HGET', turn_key(id), 'fingerprint')
  if print and redis.call('HGET', fingerprints, print) == id then redis.call('HDEL', fingerprints, print) end
  redis.call('DEL', turn_key(id))
end

local id = ARGV[3]
local twin = redis.call('HGET', fingerprints, fingerprint)
if twin and redis.call('EXISTS', turn_key(twin)) == 1 then
  id = twin
elseif ARGV[20] ~= '' and redis.call('EXISTS', turn_key(ARGV[20])) == 1 then
  id = ARGV[20] -- its reply has gone out meanwhile
end
local turn = turn_key(id)
local state = redis.call('HGET', turn, 'state')
local is_over = state == 'answered' or state == 'delivered'
local is_proven = not is_over or redis.call('HEXISTS', turn, 'unproven') == 0
if state == 'posted' or (is_over and is_proven) then
  -- Its client is answered now. Of one whose reply has gone out, the same request is a new turn from here on.
  if redis.call('HDEL', turn, 'unacknowledged') == 1 and state == 'delivered' and twin == id then
    redis.call('HDEL', fingerprints, fingerprint)
  end
  return {'joined', id, redis.call('HGET', turn, 'delay')}
end

local entry = read_entry(directory)
if not state or is_over then
  if redis.call('LLEN', turns) >= tonumber(ARGV[15]) then return {'full'} end
  -- A segment came for it while it was being posted, and then its sender said nothing more: it may be the upstream's
  -- answer to it, or a late segment of the reply before. It is opened again, for the transcript to decide; the tail
  -- took note of it with that segment, and must not say that the upstream holds what is still in question. What came
  -- for a client who waits stays: it is his, whatever it answers.
  if is_over then
    redis.call('HDEL', turn, 'unproven')
    if ARGV[11] ~= '' then count_message(entry, -1) end
    if ARGV[18] ~= '' then forget_note(entry, ARGV[18]) end
    write_entry(directory, entry)
  end
  state = is_over and 'posting' or 'queued'
  redis.call('HSET', turn, 'state', state, 'fingerprint', fingerprint, 'webhook', ARGV[6],
    'accepted_at', now, 'delay', ARGV[7], 'due', now + ARGV[7], 'not_before', now + ARGV[8],
    'settle', ARGV[9], 'meta', ARGV[10], 'message', ARGV[11], 'sent_at', ARGV[12])
  if ARGV[18] ~= '' then redis.call('HSET', turn, 'note', ARGV[18]) end
  if ARGV[19] ~= '' then redis.call('HSET', turn, 'keep', 1) end
  redis.call('EXPIRE', turn, ARGV[16])
  redis.call('RPUSH', turns, id)
  redis.call('EXPIRE', turns, ARGV[16])
  redis.call('HSET', fingerprints, fingerprint, id)
  -- Of a turn whose reply waits for days it is kept for longer.
  if redis.call('TTL', fingerprints) < tonumber(ARGV[16]) then redis.call('EXPIRE', fingerprints, ARGV[16]) end
end

local holder = redis.call('GET', lock)
if holder and holder ~= caller then
  if state == 'queued' then redis.call('HSET', turn, 'alive_until', now + ARGV[14]) end
  return {'wait', id, redis.call('PTTL', lock)}
end

local function wait(ms)
  redis.call('HSET', turn, 'alive_until', now + ARGV[14])
  return {'wait', id, ms}
end
local waits = ARGV[6] == ''
-- An answer that a client waits for must be nobody else's: while it gathers its segments, nothing new is posted.
local answering = entry.answering
local quiet = answering and tonumber(redis.call('HGET', turn_key(answering), 'quiet') or 0) or 0
if quiet > now and answering ~= id then return wait(quiet - now) end

local unsettled = {}
for _, other in ipairs(redis.call('LRANGE', turns, 0, -1)) do
  local seen = redis.call('HMGET', turn_key(other), 'state', 'alive_until', 'message', 'sent_at', 'webhook',
    'posted_at')
  if seen[1] == 'posting' then unsettled[#unsettled + 1] = {other, seen[3], seen[4]} end
  if other == id then
    break
  elseif not seen[1] or (seen[1] == 'queued' and now > tonumber(seen[2] or 0)) then
    forget(other) -- expired, or its client's process died while it waited: nothing was posted, nobody was answered
  elseif seen[1] == 'queued' then
    return wait(0)
  elseif seen[1] == 'posted' and (waits or seen[5] == '') and now < tonumber(seen[6] or 0) + ARGV[17] then
    return wait(0)
  end
end
redis.call('SET', lock, caller, 'PX', ARGV[13])
redis.call('HSET', turn, 'state', 'posting')
local ahead = redis.call('HLEN', fingerprints) - (redis.call('LLEN', turns) - (redis.call('LPOS', turns, id) or 0))
local delay = redis.call('HGET', turn, 'delay')
return {'enter', id, delay, unsettled, math.max(ahead, 0), entry.id or false, entry.user or false, entry.tail or false,
  entry.count and tostring(entry.count) or false, entry.context or false, entry.facts or false}
