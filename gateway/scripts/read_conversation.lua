#!lua flags=no-writes
-- Read all that is known of a conversation.
--
-- KEYS  1 directory
-- ARGV  1 offset ms (unused)
-- Returns the parts of the entry: name, value.
-- include _entry
local parts = {}
for name, part in pairs(read_entry(KEYS[1])) do
  parts[#parts + 1] = name
  parts[#parts + 1] = tostring(part)
end
return parts
