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
-- include _reply
local due_queue, dead, key, outbox, fingerprints = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local prefix, id, outcome = ARGV[2], ARGV[3], ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local reply = read_reply(key)
if not reply then return {'gone', ''} end
if reply.fence ~= tonumber(ARGV[4]) then return {'stale', ''} end
if not reply.lease_until then return {'ok', ''} end
local tenant = tenant_of(reply)

if outcome ~= 'delivered' then
  reply.lease_until, reply.takeovers, reply.cause, reply.status = nil, 0, ARGV[9], ARGV[10]
  if ARGV[11] ~= '' then reply.body = reply.body or ARGV[11] end
end
if outcome == 'retry' then
  local due = tonumber(ARGV[6])
  if ARGV[7] ~= '1' then reply.attempts = reply.attempts - 1 end
  reply.due = due
  write_reply(key, reply)
  schedule(due_queue, tenant, id, due)
  local keep = math.ceil(math.max(due - now, 0) / 1000) + ARGV[12]
  redis.call('EXPIRE', key, keep)
  if keep > redis.call('TTL', outbox) then redis.call('EXPIRE', outbox, keep) end
  return {'ok', ''}
end

unschedule(due_queue, tenant, id)
redis.call('LREM', outbox, 1, id)
-- The next one falls due when its turn comes: it is not late for having waited.
local promoted = ''
local following = redis.call('LINDEX', outbox, 0)
while following do
  local next_key = prefix .. 'reply:' .. following
  local next_one = read_reply(next_key)
  if next_one then
    if not is_scheduled(due_queue, tenant, following) then
      promoted = math.max(next_one.due, now)
      next_one.due = promoted
      write_reply(next_key, next_one)
      schedule(due_queue, tenant, following, promoted)
    end
    break
  end
  redis.call('LPOP', outbox) -- gone without having been settled: it must not hold up the others
  following = redis.call('LINDEX', outbox, 0)
end
-- The turns are over: an identical request is a new turn from now on, but for one whose client was never answered.
for turn in string.gmatch(reply.turns or id, '[^,]+') do
  local turn_key = prefix .. 'turn:' .. turn
  local known = redis.call('HMGET', turn_key, 'state', 'fingerprint', 'keep', 'unproven', 'reply', 'unacknowledged')
  -- One that was opened again meanwhile goes on, and so does one that another reply answers.
  if known[1] == 'answered' and known[5] == id then
    redis.call('HSET', turn_key, 'state', 'delivered')
    if not known[4] and not known[6] then
      if known[2] and redis.call('HGET', fingerprints, known[2]) == turn then
        redis.call('HDEL', fingerprints, known[2])
      end
      if not known[3] then redis.call('EXPIRE', turn_key, ARGV[14]) end -- for whoever waits beside it
    end
  end
end
if outcome == 'delivered' then
  redis.call('DEL', key)
else
  reply.reason, reply.died_at = ARGV[8], now
  write_reply(key, reply)
  redis.call('EXPIRE', key, ARGV[13])
  redis.call('ZADD', dead, now, id)
  redis.call('ZREMRANGEBYSCORE', dead, '-inf', now - ARGV[13] * 1000) -- those whose hashes have expired
end
return {'ok', promoted}
