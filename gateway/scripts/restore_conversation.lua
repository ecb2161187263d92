-- Restore an entry of the directory, unless a turn has made one meanwhile.
--
-- KEYS  1 directory
-- ARGV  1 offset ms (unused)  2 upstream conversation id  3 directory TTL s  4.. parts of the entry: name, value
-- Returns 1 when it was restored (by this call or the one that it repeats), 0 when another one is there.
-- include _entry
local entry = read_entry(KEYS[1])
if entry.id then return entry.id == ARGV[2] and 1 or 0 end
entry.id = ARGV[2]
put_parts(entry, ARGV, 4)
write_entry(KEYS[1], entry, ARGV[3])
return 1
