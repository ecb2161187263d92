-- Read what is known of a conversation of whose messages one or more are missing.
--
-- KEYS  1 directory  2 seen
-- ARGV  1 offset ms (unused)  2 upstream conversation id
-- Returns {told, since, digests of the bot's messages that were added from here, message ids that were taken...}, or {}
-- when nothing is missing any more: it came, or the conversation is another one.
local known = redis.call('HMGET', KEYS[1], 'id', 'heard', 'told', 'since', 'ours')
if known[1] ~= ARGV[2] or not (known[2] and known[3]) or tonumber(known[3]) <= tonumber(known[2]) then return {} end
return {tonumber(known[3]), tonumber(known[4]) or 0, known[5] or '', unpack(redis.call('ZRANGE', KEYS[2], 0, -1))}
