-- The due queue of a shard has two levels, so that one tenant's backlog is in nobody else's way: `due` holds tenants by
-- the moment at which their first reply falls due, `due:TENANT` that tenant's replies. Both change together, here.
local function in_step(due, tenant)
  local head = redis.call('ZRANGE', due .. ':' .. tenant, 0, 0, 'WITHSCORES')
  if head[2] then redis.call('ZADD', due, head[2], tenant) else redis.call('ZREM', due, tenant) end
end
local function schedule(due, tenant, id, at)
  redis.call('ZADD', due .. ':' .. tenant, at, id)
  in_step(due, tenant)
end
local function unschedule(due, tenant, id)
  redis.call('ZREM', due .. ':' .. tenant, id)
  in_step(due, tenant)
end
local function is_scheduled(due, tenant, id) return redis.call('ZSCORE', due .. ':' .. tenant, id) end
