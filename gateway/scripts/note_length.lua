-- Tell whether a conversation has grown long since that was last told of it, and note that it was.
--
-- KEYS  1 directory
-- ARGV  1 offset ms (unused)  2 by how many messages it must have grown
-- Returns 1 when it has, 0 when it has not, or when it is not known how many messages there are.
-- include _entry
local entry = read_entry(KEYS[1])
if not entry.count or entry.count - (entry.compacted or 0) < tonumber(ARGV[2]) then return 0 end
entry.compacted = entry.count
write_entry(KEYS[1], entry)
return 1
