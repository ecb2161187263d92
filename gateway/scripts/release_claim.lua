#!lua flags=allow-oom
-- Hand a claim back unused, so that another process takes it at once or after a pause; the attempt does not count, and
-- a reply that this claim froze may take more segments again.
--
-- KEYS  1 due  2 reply
-- ARGV  1 offset ms  2 reply id  3 fence  4 pause ms, 0 for none
-- Returns 1 when it was handed back (by this call or the one that it repeats), 0 when the lease had passed to another.
-- include _due
-- include _reply
local reply = read_reply(KEYS[2])
if not reply or reply.fence ~= tonumber(ARGV[3]) then return 0 end
if not reply.lease_until then return 1 end
reply.lease_until, reply.attempts = nil, reply.attempts - 1
if reply.frozen == reply.fence then reply.frozen = nil end
write_reply(KEYS[2], reply)
local back = reply.due
if ARGV[4] ~= '0' then
  local time = redis.call('TIME')
  back = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1] + ARGV[4]
end
schedule(KEYS[1], tenant_of(reply), ARGV[2], back) -- the reply's own `due` stays: what is late stays so
return 1
