#!lua flags=allow-oom
-- Give a reply up that cannot be had: what awaits it becomes one dead letter without a text, for the newest turn that
-- has a webhook. Clients that wait for an answer find their turn gone.
--
-- KEYS  1 pulls  2 pull  3 turns  4 dead  5 fingerprints
-- ARGV  1 offset ms  2 key prefix  3 conversation digest  4 fence  5 reason  6 cause  7 HTTP status or ''
--       8 dead letter TTL s
-- Returns the id of the dead letter, '' when nothing awaited the reply, or 'stale' when the lease has passed to another.
local pulls, pull, turns, dead, fingerprints = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local prefix, digest = ARGV[2], ARGV[3]
local fields = redis.call('HMGET', pull, 'fence', 'failures')
if not fields[1] then return '' end
if fields[1] ~= ARGV[4] then return 'stale' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local function turn_key(id) return prefix .. 'turn:' .. id end

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
  local meta = newest[2] or '{}'
  local reply = prefix .. 'reply:' .. letter
  redis.call('HSET', reply, 'conversation', digest, 'webhook', newest[1], 'meta', meta,
    'turns', table.concat(waiting, ','), 'accepted_at', newest[4], 'delay', newest[5], 'base', newest[3],
    'due', newest[3], 'settle', 0, 'opened_at', now, 'count', 0, 'picture', '', 'frozen', ARGV[4],
    'tenant', cjson.decode(meta)['tenant'] or '-', 'attempts', (tonumber(fields[2]) or 0) + 1,
    'reason', ARGV[5], 'cause', ARGV[6], 'status', ARGV[7], 'died_at', now)
  redis.call('EXPIRE', reply, ARGV[8])
  redis.call('ZADD', dead, now, letter)
end
for _, id in ipairs(waiting) do
  local print = redis.call('HGET', turn_key(id), 'fingerprint')
  if print and redis.call('HGET', fingerprints, print) == id then redis.call('HDEL', fingerprints, print) end
  redis.call('LREM', turns, 1, id)
  redis.call('DEL', turn_key(id))
end
redis.call('DEL', pull)
redis.call('ZREM', pulls, digest)
return letter
