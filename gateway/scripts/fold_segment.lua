-- Take one segment of a reply: into the reply that waits, or as the first of a new one that answers the open turns.
--
-- KEYS  1 directory  2 turns  3 outbox  4 seen  5 orphans  6 due
-- ARGV  1 offset ms  2 key prefix  3 conversation digest  4 upstream conversation id  5 message id  6 segment
--       7 '1' when it carries a picture  8 id for a reply that answers no turn  9 settle ms  10 longest settling ms
--       11 most segments of a reply  12 'late' for a segment that answers no turn still open, else ''
--       13 turn TTL s  14 reply TTL s  15 most message ids remembered
-- Returns {'foreign'}    another conversation's callback: nothing is changed
--         {'duplicate'}  the message id was taken before
--         {'orphan'}     neither the conversation nor a webhook is known yet: kept
--         {'opened'|'folded', reply id, due ms, now ms}
local directory, turns, outbox, seen, orphans, due_queue = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local prefix, message_id, segment, has_media = ARGV[2], ARGV[5], ARGV[6], ARGV[7]
local settle_cap, reply_ttl = tonumber(ARGV[10]), ARGV[14]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local function turn_key(id) return prefix .. 'turn:' .. id end
local function reply_key(id) return prefix .. 'reply:' .. id end

local known = redis.call('HMGET', directory, 'id', 'webhook', 'meta')
if known[1] and known[1] ~= ARGV[4] then return {'foreign'} end
if redis.call('ZSCORE', seen, message_id) then return {'duplicate'} end

local answered = {}
if ARGV[12] == '' then
  for _, id in ipairs(redis.call('LRANGE', turns, 0, -1)) do
    local state = redis.call('HGET', turn_key(id), 'state')
    if state == 'posted' or state == 'posting' then answered[#answered + 1] = id end
  end
end
if not known[1] or (#answered == 0 and redis.call('LLEN', outbox) == 0 and not known[2]) then
  if redis.call('HLEN', orphans) >= tonumber(ARGV[15]) and redis.call('HEXISTS', orphans, message_id) == 0 then
    return {'duplicate'} -- bounded: what a forger with a valid token could fill
  end
  redis.call('HSET', orphans, message_id, cmsgpack.pack({ARGV[4], message_id, segment}))
  redis.call('EXPIRE', orphans, ARGV[13])
  return {'orphan'}
end
redis.call('ZADD', seen, now, message_id)
redis.call('ZREMRANGEBYRANK', seen, 0, -1 - tonumber(ARGV[15]))
redis.call('EXPIRE', seen, ARGV[13])

-- Only the outbox's head is in the due queue: deliveries of one conversation leave in order.
local function schedule(id, due)
  redis.call('HSET', reply_key(id), 'due', due)
  if redis.call('LINDEX', outbox, 0) == id then redis.call('ZADD', due_queue, due, 'd:' .. id) end
end
local function open(id, webhook, meta, settle, base, turn_ids, accepted_at, delay)
  local due = math.max(base, now + settle)
  redis.call('HSET', reply_key(id), 'conversation', ARGV[3], 'webhook', webhook, 'meta', meta, 'turns', turn_ids,
    'accepted_at', accepted_at, 'delay', delay, 'base', base, 'settle', settle, 'opened_at', now,
    'count', 1, 'segment:1', segment, 'media', has_media)
  redis.call('EXPIRE', reply_key(id), reply_ttl)
  redis.call('RPUSH', outbox, id)
  redis.call('EXPIRE', outbox, reply_ttl)
  schedule(id, due)
  return {'opened', id, due, now}
end

if #answered > 0 then
  -- Every turn that was posted before this first segment is answered by it, at the newest one's webhook; none of
  -- their replies may be early.
  local id = answered[#answered]
  local newest = redis.call('HMGET', turn_key(id), 'webhook', 'meta', 'settle', 'due', 'accepted_at', 'delay')
  local base = tonumber(newest[4])
  for _, other in ipairs(answered) do
    base = math.max(base, tonumber(redis.call('HGET', turn_key(other), 'not_before')))
    redis.call('HSET', turn_key(other), 'state', 'answered', 'reply', id)
    redis.call('LREM', turns, 1, other)
  end
  return open(id, newest[1], newest[2], tonumber(newest[3]), base, table.concat(answered, ','), newest[5], newest[6])
end

local base = now
local tail = redis.call('LINDEX', outbox, -1)
local webhook, meta = known[2], known[3] or ''
if tail then
  local reply = redis.call('HMGET', reply_key(tail), 'frozen', 'media', 'count', 'base', 'settle', 'opened_at',
    'webhook', 'meta')
  if not reply[1] and reply[3] and tonumber(reply[3]) < tonumber(ARGV[11])
    and not (has_media == '1' and reply[2] == '1') then
    local count = redis.call('HINCRBY', reply_key(tail), 'count', 1)
    redis.call('HSET', reply_key(tail), 'segment:' .. count, segment)
    if has_media == '1' then redis.call('HSET', reply_key(tail), 'media', '1') end
    local quiet = math.min(now + reply[5], reply[6] + settle_cap)
    local due = math.max(tonumber(reply[4]), quiet)
    schedule(tail, due)
    return {'folded', tail, due, now}
  elseif not reply[1] and reply[4] then
    base = math.max(now, tonumber(reply[4])) -- the window of the reply that it goes on with
  end
  if reply[7] then webhook, meta = reply[7], reply[8] end
end
return open(ARGV[8], webhook, meta, tonumber(ARGV[9]), base, '', now, 0)
