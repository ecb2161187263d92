#!lua flags=allow-oom
-- Claim what has fallen due on one shard, from all tenants in turn. A claim re-scores at now + lease instead of
-- removing: the work of a process that dies comes back by itself. Claiming freezes a reply: every attempt sends the
-- same segments. A full store still delivers (`allow-oom`), since that is what makes room.
--
-- KEYS  1 due  2 fence
-- ARGV  1 offset ms  2 key prefix  3 lease ms  4 most items  5 most items of a tenant
--       6.. tenants that may have fewer, each with its most
-- Returns {now ms, next due ms or '', {reply id, {segments...}, parts of its head: name, value...}...}. Among the parts:
-- `attempts` counts this claim, `takeovers` the claims before it that nobody settled, `fence` names it. What a tenant
-- with nothing to claim any more has waiting does not count for the next due time.
-- Sent again after a lost answer, it leaves what it had claimed to the lease.
-- include _due
-- include _reply
local MOST_TENANTS = 1000 -- looked at in one claim

local due, prefix = KEYS[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local most, left = {}, tonumber(ARGV[4])
for index = 6, #ARGV, 2 do most[ARGV[index]] = tonumber(ARGV[index + 1]) end
local function most_of(tenant) return most[tenant] or tonumber(ARGV[5]) end

local claimed = {}
local function claim(tenant, id)
  local key = prefix .. 'reply:' .. id
  local reply = read_reply(key)
  if not reply then
    redis.call('ZREM', due .. ':' .. tenant, id)
    return
  end
  if reply.lease_until then reply.takeovers = (reply.takeovers or 0) + 1 end
  reply.fence = redis.call('INCR', KEYS[2])
  reply.lease_until, reply.frozen = now + ARGV[3], reply.frozen or reply.fence
  reply.attempts = (reply.attempts or 0) + 1
  write_reply(key, reply)
  redis.call('ZADD', due .. ':' .. tenant, reply.lease_until, id)
  reply.turns = reply.turns or id
  local told = {id, redis.call('LRANGE', key, 1, -1)}
  for name, part in pairs(reply) do
    told[#told + 1] = name
    told[#told + 1] = part
  end
  claimed[#claimed + 1] = told
  left = left - 1
  most[tenant] = most_of(tenant) - 1
end

local waiting = {}
for _, tenant in ipairs(redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, MOST_TENANTS)) do
  if most_of(tenant) > 0 then waiting[#waiting + 1] = tenant end
end
-- Where not every tenant gets something, another one is the first each time: the fence has moved on by then.
local first, touched = tonumber(redis.call('GET', KEYS[2]) or 0), waiting
while left > 0 and #waiting > 0 do
  local share, again = math.max(math.floor(left / #waiting), 1), {}
  for turn = 1, #waiting do
    local tenant = waiting[(first + turn) % #waiting + 1]
    local limit = math.min(share, left, most_of(tenant))
    local ids = limit > 0
      and redis.call('ZRANGE', due .. ':' .. tenant, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit) or {}
    for _, id in ipairs(ids) do claim(tenant, id) end
    if #ids > 0 and #ids == limit then again[#again + 1] = tenant end
  end
  waiting = again
end
for _, tenant in ipairs(touched) do in_step(due, tenant) end

local following = ''
for index, value in ipairs(redis.call('ZRANGE', due, 0, MOST_TENANTS, 'WITHSCORES')) do
  if index % 2 == 1 and most_of(value) > 0 then
    following = redis.call('ZSCORE', due, value)
    break
  end
end
return {now, following, unpack(claimed)}
