#!lua flags=allow-oom
-- Remember of the upstream's transcript what is not this turn's own message.
--
-- KEYS  1 directory  2 lock  3 turn
-- ARGV  1 offset ms (unused)  2 caller (must hold the lock)  3 longest tail, in characters
--       4 'add' (messages came to it), 'restart' (the same, and the client's side of it is another from now on) or
--         'replace' (it was read: this is its end), or 'ours' (messages of the bot's are about to be added)
--       5 digests  6 how many for 'add', the whole count for 'replace'  7 the tail as the reader knew it, for 'replace'
--       8 '1' when what was read holds the turn's own message, for 'replace'; names this call otherwise
--       9 how many came, for 'add'
-- Returns 1 when it is remembered (by this call or the one that it repeats), 0 when the lease has passed to another.
-- include _entry
local MOST_OURS = 256 -- characters
local directory, turn, mode, digests = KEYS[1], KEYS[3], ARGV[4], ARGV[5]
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
local entry = read_entry(directory)
if mode == 'ours' then
  entry.ours = (entry.ours or '') .. digests
  if #entry.ours > MOST_OURS and entry.heard then -- those are forgotten, so that nothing as old may be looked for
    entry.since, entry.ours = entry.heard, digests
  end
  write_entry(directory, entry)
  return 1
end
local tail = entry.tail or ''
if mode == 'replace' then
  if ARGV[8] ~= '' then redis.call('HDEL', turn, 'note') end
  -- Where a callback has added to it meanwhile, the transcript may lack that one: what is known stays as it is.
  if tail == ARGV[7] then
    entry.tail, entry.count = digests, tonumber(ARGV[6])
    write_entry(directory, entry)
  end
  return 1
end
if redis.call('HGET', turn, 'added') == ARGV[8] then return 1 end
redis.call('HSET', turn, 'added', ARGV[8])
if mode == 'restart' then
  tail = string.gsub(tail, '....', function(digest) if string.find(digest, '^[A-Za-f]') then return '' end end)
  entry.count = nil
elseif entry.count then
  entry.count = entry.count + ARGV[6]
end
entry.tail = string.sub(tail .. digests, -ARGV[3])
if entry.heard then entry.heard = entry.heard + ARGV[9] end
write_entry(directory, entry)
return 1
