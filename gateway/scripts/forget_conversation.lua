-- Forget a conversation that the upstream no longer has, unless somebody has recorded another one meanwhile.
--
-- KEYS  1 directory
-- ARGV  1 offset ms (unused)  2 upstream conversation id that is gone
-- Returns 1 when it was forgotten, 0 when the directory names another (or none).
-- include _entry
local entry = read_entry(KEYS[1])
if entry.id ~= ARGV[2] then return 0 end
entry.id = nil
write_entry(KEYS[1], entry)
return 1
