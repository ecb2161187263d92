-- What the upstream says that it holds, against what is known to be there: where that is less, a message of the bot's
-- has been overtaken, or its callback is lost. It is looked for once what was overtaken has had time to come. For that
-- the client's key is kept, sealed as it was for the open turn, until a while after the upstream's last word.
local GRACE_MS = 1500 -- what was overtaken comes within it
local HOLD_MS = 3000 -- how long a reply waits that lacks something: the grace, and the time of a look
local LINGER_SECONDS = 60 -- how long after a reply's last segment the next may come that shows what was lost

local function count_message(entry, by)
  if entry.heard then entry.heard = entry.heard + by end
end

-- Keep the key for a look, and have the look if something is missing, which is returned; nothing is without a key.
local function watch(prefix, digest, kept, upstream, is_missing, now, longest_s)
  local pulls, gap, member = prefix .. 'pulls', prefix .. 'pull:' .. digest .. ':gap', digest .. ':gap'
  local known = redis.call('HMGET', gap, 'sealed', 'noticed', 'lease_until')
  if kept[1] then
    redis.call('HSET', gap, 'sealed', kept[1], 'meta', kept[2], 'upstream', upstream)
  elseif not known[1] then
    return false
  end
  if is_missing then
    if not known[2] then redis.call('HSET', gap, 'noticed', now) end
    redis.call('EXPIRE', gap, longest_s)
    redis.call('ZADD', pulls, 'NX', now + GRACE_MS, member)
  elseif not known[3] then -- else its end will see it
    if known[2] then
      redis.call('HDEL', gap, 'noticed', 'claims', 'failures', 'takeovers')
      redis.call('ZREM', pulls, member)
    end
    redis.call('EXPIRE', gap, LINGER_SECONDS)
  end
  return is_missing
end
