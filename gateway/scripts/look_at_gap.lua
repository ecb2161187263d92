-- Read what is known of a conversation of whose messages one or more are missing.
--
-- KEYS  1 directory  2 seen
-- ARGV  1 offset ms (unused)  2 upstream conversation id
-- Returns {told, since, digests of the bot's messages that were added from here, message ids that were taken...}, or {}
-- when nothing is missing any more: it came, or the conversation is another one.
-- include _entry
local entry = read_entry(KEYS[1])
if entry.id ~= ARGV[2] or not (entry.heard and entry.told) or entry.told <= entry.heard then return {} end
return {entry.told, entry.since or 0, entry.ours or '', unpack(redis.call('ZRANGE', KEYS[2], 0, -1))}
