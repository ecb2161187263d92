#!lua flags=allow-oom
-- Give a reply up that cannot be had: what awaits it becomes one dead letter without a text, for the newest turn that
-- has a webhook. Clients that wait for an answer find their turn gone.
--
-- KEYS  1 pulls  2 pull  3 turns  4 dead  5 fingerprints
-- ARGV  1 offset ms  2 key prefix  3 conversation digest  4 fence  5 reason  6 cause  7 HTTP status or ''
--       8 dead letter TTL s  9 turn id that was asked for when the pull began, or ''  10 an id of its own for the letter
-- Returns the id of the dead letter, '' when nothing awaited the reply, 'stale' when the lease has passed to another, or
-- 'again' when the user has spoken meanwhile: that message has its own tries, beginning now.
-- include _reply
local pulls, pull, turns, dead, fingerprints = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local prefix, digest = ARGV[2], ARGV[3]
local fields = redis.call('HMGET', pull, 'fence', 'failures', 'asked', 'lease_until')
if not fields[1] then return '' end
if fields[1] ~= ARGV[4] then return 'stale' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local function turn_key(id) return prefix .. 'turn:' .. id end

if (fields[3] or '') ~= ARGV[9] then
  if fields[4] then -- else by the call that this one repeats
    redis.call('HDEL', pull, 'lease_until')
    redis.call('ZADD', pulls, now, digest)
  end
  return 'again'
end

local waiting, letter = {}, ''
for _, id in ipairs(redis.call('LRANGE', turns, 0, -1)) do
  local turn = redis.call('HMGET', turn_key(id), 'state', 'webhook')
  if turn[1] == 'posted' then
    waiting[#waiting + 1] = id
    if turn[2] ~= '' then letter = id end
  end
end
if letter ~= '' then
  local newest = redis.call('HMGET', turn_key(letter), 'webhook', 'meta', 'due', 'accepted_at', 'delay')
  -- A turn that was opened again has given its name to a reply before.
  if redis.call('HEXISTS', turn_key(letter), 'reply') == 1 then letter = ARGV[10] end
  local key = prefix .. 'reply:' .. letter
  add_reply(key, {conversation = digest, webhook = newest[1], meta = newest[2] or '', turns = table.concat(waiting, ','),
    accepted_at = tonumber(newest[4]), delay = tonumber(newest[5]), base = tonumber(newest[3]),
    due = tonumber(newest[3]), settle = 0, opened_at = now, frozen = tonumber(ARGV[4]),
    attempts = (tonumber(fields[2]) or 0) + 1, reason = ARGV[5], cause = ARGV[6], status = ARGV[7], died_at = now})
  redis.call('EXPIRE', key, ARGV[8])
  redis.call('ZADD', dead, now, letter)
end
for _, id in ipairs(waiting) do
  local known = redis.call('HMGET', turn_key(id), 'fingerprint', 'keep', 'webhook')
  if known[1] and redis.call('HGET', fingerprints, known[1]) == id then redis.call('HDEL', fingerprints, known[1]) end
  redis.call('LREM', turns, 1, id)
  if known[2] and known[3] ~= '' then
    redis.call('HSET', turn_key(id), 'state', 'delivered') -- its client may send it again: it is this one
  else
    redis.call('DEL', turn_key(id))
  end
end
redis.call('DEL', pull)
redis.call('ZREM', pulls, digest)
return letter
