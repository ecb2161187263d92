#!lua flags=no-writes
-- Read some of what is kept of a dead letter.
--
-- KEYS  1 reply
-- ARGV  1 offset ms  2 reply id  3.. names of parts of its head, `count` for how many segments it has
-- Returns their values, nil for one that is not there.
-- include _reply
local reply, values = read_reply(KEYS[1]) or {}, {}
reply.count = redis.call('LLEN', KEYS[1]) - 1
reply.turns = reply.turns or ARGV[2]
for place = 3, #ARGV do values[#values + 1] = reply[ARGV[place]] or false end
return values
