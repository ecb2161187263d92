#!lua
-- Take one segment of a reply: into the reply that waits, or as the first of a new one that answers the open turns.
-- (The first line makes a full store refuse it as a whole, rather than depending on which command comes first.)
--
-- KEYS  1 directory  2 turns  3 outbox  4 seen  5 orphans  6 due
-- ARGV  1 offset ms  2 key prefix  3 conversation digest  4 upstream conversation id  5 message id  6 segment
--       7 '1' when it carries a picture  8 id for a reply that answers no turn  9 settle ms  10 longest settling ms
--       11 most segments of a reply  12 '1' for a segment that answers no turn still open, else ''
--       13 turn TTL s  14 reply TTL s  15 most message ids remembered and most orphans kept
--       16 digest by which the conversation's tail remembers the message, '' for one that it does not
--       17 longest tail, in characters  18 channel on which clients that wait for an answer are told of it
--       19 id of a turn that is being posted and that the segment surely answers, '' for none
--       20 how many messages the upstream says it holds with this one, '' when it does not say
--       21 '1' for a message that the upstream holds and that is not counted yet
-- Returns {'foreign'}    another conversation's callback, and not the former one's: nothing is changed
--         {'duplicate'}  the message id was taken before
--         {'orphan'}     neither the conversation nor a webhook is known yet: kept
--         {'full'}       one orphan too many: not kept, nothing is changed
--         {'opened'|'folded', reply id, due ms}
--         {'answered', turn id, due ms}  taken into the answer that a client waits for
-- include _due
-- include _entry
-- include _gap
-- include _reply
-- include _tail
local LONG_WAIT_SECONDS = 3600 -- a turn is remembered for much longer anyway
-- What an answered turn needs no more: the reply has it; and what only one needs whose fate the transcript may decide.
-- The fingerprint and the delay are for an identical request that may still join.
local ANSWERED = {state = true, reply = true, unproven = true, webhook = true, meta = true, settle = true, due = true,
  not_before = true, accepted_at = true, note = true, alive_until = true, posted_at = true, left = true}
local PROVEN = {message = true, sent_at = true}

local directory, turns, outbox, seen, orphans, due_queue = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local prefix, message_id, segment, has_picture = ARGV[2], ARGV[5], ARGV[6], ARGV[7]
local reply_ttl, most_ids = tonumber(ARGV[14]), tonumber(ARGV[15])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local function turn_key(id) return prefix .. 'turn:' .. id end
local function reply_key(id) return prefix .. 'reply:' .. id end

local entry = read_entry(directory)
local function note(digest)
  if digest ~= '' then note_message(entry, digest, ARGV[17]) end
end

-- The conversation that was left for this one answers what was posted there, and is no part of what is known of this.
local is_left = entry.id and entry.id ~= ARGV[4]
if is_left and entry.former ~= ARGV[4] then return {'foreign'} end
if redis.call('ZSCORE', seen, message_id) then return {'duplicate'} end

-- Replies that are gone without having been settled (expired, evicted) must not hold up the conversation.
local function living(place, pop)
  local id = redis.call('LINDEX', outbox, place)
  local reply = id and read_reply(reply_key(id))
  while id and not reply do
    redis.call(pop, outbox)
    id = redis.call('LINDEX', outbox, place)
    reply = id and read_reply(reply_key(id))
  end
  return id, reply
end
local head, first = living(0, 'LPOP')
local tail, last = head, first
if head then
  if not is_scheduled(due_queue, tenant_of(first), head) then -- it was behind one that is gone
    schedule(due_queue, tenant_of(first), head, math.max(first.due, now))
  end
  if redis.call('LINDEX', outbox, -1) ~= head then tail, last = living(-1, 'RPOP') end
end

local held = not is_left and tonumber(ARGV[20])
-- The turns that are open were posted when later ones had come already, or they would be answered by those.
local is_overtaken = held and entry.told and held < entry.told
local answered, is_posting, promised = {}, {}, nil
if ARGV[12] == '' and not is_overtaken then
  for _, id in ipairs(redis.call('LRANGE', turns, 0, -1)) do
    local turn = redis.call('HMGET', turn_key(id), 'state', 'webhook', 'reply', 'left')
    is_posting[id] = turn[1] == 'posting'
    -- Of a turn that was opened again, what goes on with the reply that it has is no new one.
    local goes_on = is_posting[id] and tail and turn[3] == tail and not last.frozen
    local may_answer = not is_left or turn[4] == ARGV[4]
    if (turn[1] == 'posted' or is_posting[id]) and may_answer and not goes_on then
      answered[#answered + 1] = id
      if turn[2] ~= '' then promised = #answered end
    end
  end
end
-- What was promised to a webhook goes there, and not to a client who waits for the answer to a later message.
while promised and #answered > promised do table.remove(answered) end
-- The answer that a client waits for, or will ask for again, while it has not been taken.
local gathering = #answered == 0 and not is_left and entry.answering
  and redis.call('HGET', turn_key(entry.answering), 'state') == 'answered' and entry.answering
if not entry.id or (#answered == 0 and not gathering and not head and not entry.webhook) then
  if redis.call('HEXISTS', orphans, message_id) == 1 then return {'duplicate'} end
  local arrival = redis.call('HLEN', orphans)
  if arrival >= most_ids then return {'full'} end
  redis.call('HSET', orphans, message_id, cmsgpack.pack({ARGV[4], message_id, segment, arrival}))
  redis.call('EXPIRE', orphans, ARGV[13])
  return {'orphan'}
end
redis.call('HDEL', orphans, message_id) -- it may have been one until now
local forgot = redis.call('EXISTS', seen) == 0
redis.call('ZADD', seen, now, message_id)
redis.call('ZREMRANGEBYRANK', seen, 0, -1 - most_ids)
redis.call('EXPIRE', seen, ARGV[13])
local posted = 0
for _, id in ipairs(answered) do
  if is_posting[id] then
    local message = redis.call('HMGET', turn_key(id), 'note', 'message')
    note(message[1] or '')
    if message[2] ~= '' then posted = posted + 1 end
  end
end
if not is_left then note(ARGV[16]) end

-- What the upstream holds, and what of it is known; how long what has come waits for what is missing.
local lacks = false
if ARGV[21] ~= '' and not is_left and (entry.heard or held) then
  entry.heard = entry.heard and entry.heard + 1 + posted or held -- nothing was counted before this
  -- Where it was forgotten what had come, whatever came before this would seem never to have come.
  entry.since = forgot and entry.told or entry.since or entry.heard
  entry.told = math.max(entry.told or 0, held or 0)
  local kept = held and redis.call('HMGET', prefix .. 'pull:' .. ARGV[3], 'sealed', 'meta')
  lacks = held and watch(prefix, ARGV[3], kept, ARGV[4], entry.told > entry.heard, now, ARGV[13])
end
local function patience(settle) return lacks and math.max(settle, HOLD_MS) or settle end

-- Only the outbox's head is in the due queue: deliveries of one conversation leave in order.
local function open(id, webhook, meta, settle, base, turn_ids, accepted_at, delay)
  local reply = {conversation = ARGV[3], webhook = webhook, meta = meta, turns = turn_ids ~= id and turn_ids or nil,
    accepted_at = accepted_at, delay = delay, base = base, settle = settle, opened_at = now,
    due = math.max(base, now + patience(settle)), upto = held or 0, picture = has_picture == '1' or nil}
  add_reply(reply_key(id), reply, segment)
  redis.call('RPUSH', outbox, id)
  local keep = math.ceil((reply.due - now) / 1000) + reply_ttl -- a delay must not outlast what waits for it
  redis.call('EXPIRE', reply_key(id), keep)
  if keep > redis.call('TTL', outbox) then redis.call('EXPIRE', outbox, keep) end
  if not head then schedule(due_queue, tenant_of(reply), id, reply.due) end
  return {'opened', id, reply.due}
end

local function answer(id, settle)
  local turn = turn_key(id)
  if settle then redis.call('HSET', turn, 'settle', settle, 'opened_at', now) end
  settle = settle or redis.call('HGET', turn, 'settle')
  local count = redis.call('HINCRBY', turn, 'count', 1)
  local due = math.min(now + patience(settle), redis.call('HGET', turn, 'opened_at') + ARGV[10])
  redis.call('HSET', turn, 'segment:' .. count, segment, 'quiet', due)
  entry.answering = id
  write_entry(directory, entry)
  redis.call('PUBLISH', ARGV[18], id)
  return {'answered', id, due}
end

if gathering then return answer(gathering) end
if #answered > 0 then
  -- Every turn that was posted before this first segment is answered by it, at the newest one's webhook; none of
  -- their replies may be early.
  local newest_turn = answered[#answered]
  local newest = redis.call('HMGET', turn_key(newest_turn), 'webhook', 'meta', 'settle', 'due', 'accepted_at', 'delay')
  local base = tonumber(newest[4])
  -- A turn that was opened again has given its name to a reply before.
  local id = redis.call('HEXISTS', turn_key(newest_turn), 'reply') == 1 and newest[1] ~= '' and ARGV[8] or newest_turn
  for _, other in ipairs(answered) do
    base = math.max(base, tonumber(redis.call('HGET', turn_key(other), 'not_before')))
    -- Until its sender has the upstream's word nobody knows: it may be a late segment of the reply before.
    local is_unproven = is_posting[other] and other ~= ARGV[19]
    local kept = {'state', 'answered', 'reply', id}
    if is_unproven then kept[5], kept[6] = 'unproven', 1 end
    local fields = redis.call('HGETALL', turn_key(other))
    for place = 1, #fields, 2 do
      local name = fields[place]
      if not ANSWERED[name] and (is_unproven or not PROVEN[name]) then
        kept[#kept + 1], kept[#kept + 2] = name, fields[place + 1]
      end
    end
    -- Written anew, since a hash that has held a long value stays as large as that made it.
    local left = redis.call('PTTL', turn_key(other))
    redis.call('DEL', turn_key(other))
    redis.call('HSET', turn_key(other), unpack(kept))
    redis.call('PEXPIRE', turn_key(other), left)
    redis.call('LREM', turns, 1, other)
  end
  local pull = prefix .. 'pull:' .. ARGV[3]
  if redis.call('LLEN', turns) == 0 and redis.call('HEXISTS', pull, 'lease_until') == 0 then
    redis.call('DEL', pull) -- what was kept to look for the reply is needed no more
    redis.call('ZREM', prefix .. 'pulls', ARGV[3])
  end
  if newest[1] == '' then return answer(id, newest[3]) end
  entry.answering = nil
  local opened = open(id, newest[1], newest[2], tonumber(newest[3]), base, table.concat(answered, ','),
    tonumber(newest[5]), tonumber(newest[6]))
  local wait = math.ceil((opened[3] - now) / 1000)
  if wait > LONG_WAIT_SECONDS then -- an identical request joins for as long as that
    for _, other in ipairs(answered) do redis.call('EXPIRE', turn_key(other), wait + ARGV[13]) end
    redis.call('EXPIRE', prefix .. 'prints:' .. ARGV[3], wait + ARGV[13], 'GT')
  end
  write_entry(directory, entry)
  return opened
end

write_entry(directory, entry)
local base = now
if is_overtaken then -- it goes before what has overtaken it, where that is still here
  for _, id in ipairs(redis.call('LRANGE', outbox, 0, -1)) do
    local reply = read_reply(reply_key(id))
    if reply and not reply.frozen and reply.upto > held then
      tail, last = id, reply
      break
    end
  end
end
local webhook, meta = entry.webhook, entry.meta or ''
if tail then
  local key = reply_key(tail)
  webhook, meta = last.webhook, last.meta
  if not last.frozen then
    local second_picture = has_picture == '1' and last.picture
    if redis.call('LLEN', key) - 1 < tonumber(ARGV[11]) and not second_picture then
      redis.call('RPUSH', key, segment)
      last.picture = last.picture or has_picture == '1' or nil
      if held and not is_overtaken then last.upto = held end
      last.due = math.max(last.base, math.min(now + patience(last.settle), last.opened_at + ARGV[10]))
      write_reply(key, last)
      if tail == head then schedule(due_queue, tenant_of(last), tail, last.due) end
      return {'folded', tail, last.due}
    end
    base = math.max(now, last.base) -- it goes on with that reply, in the same window
  end
end
if ARGV[12] ~= '' and not tail then -- it may answer an earlier try of an open turn, which the store has lost
  for _, id in ipairs(redis.call('LRANGE', turns, 0, -1)) do
    base = math.max(base, tonumber(redis.call('HGET', turn_key(id), 'not_before')) or now)
  end
end
return open(ARGV[8], webhook, meta, tonumber(ARGV[9]), base, '', now, 0)
