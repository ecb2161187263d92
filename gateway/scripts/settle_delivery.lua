#!lua flags=allow-oom
-- Record the outcome of an attempt and let the conversation's next reply leave.
--
-- KEYS  1 due  2 dead  3 reply  4 outbox  5 fingerprints
-- ARGV  1 offset ms  2 key prefix  3 reply id  4 fence  5 'delivered', 'retry' or 'dead'
--       6 due ms of the next attempt  7 '1' when the attempt counts  8 reason  9 cause  10 HTTP status or ''
--       11 body, kept so that the next attempt sends its bytes  12 reply TTL s  13 dead letter TTL s
--       14 how long a turn that is over is remembered, s
-- Returns {'ok', due ms of the next reply when this lets it leave, else ''}, also when repeated; {'stale', ''} when the
-- lease has passed to another; {'gone', ''} when there is no such reply: delivered by the call that this one repeats.
-- include _due
local due_queue, dead, reply, outbox, fingerprints = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local prefix, id, outcome = ARGV[2], ARGV[3], ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local fields = redis.call('HMGET', reply, 'fence', 'lease_until', 'turns', 'tenant')
local tenant = fields[4]
if not fields[1] then return {'gone', ''} end
if fields[1] ~= ARGV[4] then return {'stale', ''} end
if not fields[2] then return {'ok', ''} end

if outcome ~= 'delivered' then
  redis.call('HDEL', reply, 'lease_until')
  redis.call('HSET', reply, 'takeovers', 0, 'cause', ARGV[9], 'status', ARGV[10])
  if ARGV[11] ~= '' then redis.call('HSETNX', reply, 'body', ARGV[11]) end
end
if outcome == 'retry' then
  local due = tonumber(ARGV[6])
  if ARGV[7] ~= '1' then redis.call('HINCRBY', reply, 'attempts', -1) end
  redis.call('HSET', reply, 'due', due)
  schedule(due_queue, tenant, id, due)
  local keep = math.ceil(math.max(due - now, 0) / 1000) + ARGV[12]
  redis.call('EXPIRE', reply, keep)
  if keep > redis.call('TTL', outbox) then redis.call('EXPIRE', outbox, keep) end
  return {'ok', ''}
end

unschedule(due_queue, tenant, id)
redis.call('LREM', outbox, 1, id)
-- The next one falls due when its turn comes: it is not late for having waited.
local promoted = ''
local following = redis.call('LINDEX', outbox, 0)
while following do
  local key = prefix .. 'reply:' .. following
  local due = redis.call('HGET', key, 'due')
  if due then
    if not is_scheduled(due_queue, tenant, following) then
      promoted = math.max(tonumber(due), now)
      redis.call('HSET', key, 'due', promoted)
      schedule(due_queue, tenant, following, promoted)
    end
    break
  end
  redis.call('LPOP', outbox) -- gone without having been settled: it must not hold up the others
  following = redis.call('LINDEX', outbox, 0)
end
-- The turns are over: an identical request is a new turn from now on, but for one whose client was never answered.
for turn in string.gmatch(fields[3] or '', '[^,]+') do
  local key = prefix .. 'turn:' .. turn
  local known = redis.call('HMGET', key, 'state', 'fingerprint', 'keep', 'unproven', 'reply', 'unacknowledged')
  -- One that was opened again meanwhile goes on, and so does one that another reply answers.
  if known[1] == 'answered' and known[5] == id then
    redis.call('HSET', key, 'state', 'delivered')
    if not known[4] and not known[6] then
      if known[2] and redis.call('HGET', fingerprints, known[2]) == turn then
        redis.call('HDEL', fingerprints, known[2])
      end
      if not known[3] then redis.call('EXPIRE', key, ARGV[14]) end -- for whoever waits beside it
    end
  end
end
if outcome == 'delivered' then
  redis.call('DEL', reply)
else
  redis.call('HSET', reply, 'reason', ARGV[8], 'died_at', now)
  redis.call('EXPIRE', reply, ARGV[13])
  redis.call('ZADD', dead, now, id)
  redis.call('ZREMRANGEBYSCORE', dead, '-inf', now - ARGV[13] * 1000) -- those whose hashes have expired
end
return {'ok', promoted}
