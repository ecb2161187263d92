-- A reply is a list: its head, which is these parts packed in this order, and then its segments. As a hash it would take
-- more than twice the memory, since a URL is too long for a hash's compact form. A part may be added at the end.
-- `turns` are the ids of those that it answers, with commas between them; missing where it is the one whose id it bears.
-- Whose the reply is, `meta` says.

-- Give the head's parts by their names; nil where there is no such reply.
local function read_reply(key)
  local head = redis.call('LINDEX', key, 0)
  if not head then return nil end
  local conversation, webhook, meta, turns, accepted_at, delay, base, settle, opened_at, due, upto, picture, fence,
    frozen, lease_until, attempts, takeovers, cause, status, body, reason, died_at = cmsgpack.unpack(head)
  return {conversation = conversation, webhook = webhook, meta = meta, turns = turns, accepted_at = accepted_at,
    delay = delay, base = base, settle = settle, opened_at = opened_at, due = due, upto = upto, picture = picture,
    fence = fence, frozen = frozen, lease_until = lease_until, attempts = attempts, takeovers = takeovers,
    cause = cause, status = status, body = body, reason = reason, died_at = died_at}
end
local function head_of(reply)
  local head = cmsgpack.pack(reply.conversation, reply.webhook, reply.meta, reply.turns, reply.accepted_at, reply.delay,
    reply.base, reply.settle, reply.opened_at, reply.due, reply.upto, reply.picture)
  if not (reply.fence or reply.frozen) then return head end -- no attempt was made yet
  return head .. cmsgpack.pack(reply.fence, reply.frozen, reply.lease_until, reply.attempts, reply.takeovers,
    reply.cause, reply.status, reply.body, reply.reason, reply.died_at)
end
local function write_reply(key, reply) redis.call('LSET', key, 0, head_of(reply)) end
local function add_reply(key, reply, ...) redis.call('RPUSH', key, head_of(reply), ...) end
local function tenant_of(reply) return string.match(reply.meta, '^%["(%x+)"') or '-' end
