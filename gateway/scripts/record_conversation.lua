#!lua
-- Record which upstream conversation belongs to a key, before anything is posted to it: its callbacks can be placed.
-- What was known of another one is forgotten, but for its id: its replies to the turns that are open may yet come.
--
-- KEYS  1 directory  2 lock  3 orphans  4 turns
-- ARGV  1 offset ms (unused)  2 caller (must hold the lock)  3 upstream conversation id  4 directory TTL s
--       5 key prefix  6.. parts of the entry: name, value
-- Returns {'stale'} when the lease has passed to another, else {'recorded', orphans...}: the callbacks that came for
-- this conversation while it was unknown, each as {message id, segment}, as they arrived; they stay until folded.
-- include _entry
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return {'stale'} end
local entry = read_entry(KEYS[1])
local former = entry.id -- not of one that is gone upstream: it has been forgotten
if former and former ~= ARGV[3] then
  entry.former = former
  for _, id in ipairs(redis.call('LRANGE', KEYS[4], 0, -1)) do
    local turn = ARGV[5] .. 'turn:' .. id
    if redis.call('HGET', turn, 'state') == 'posted' then redis.call('HSETNX', turn, 'left', former) end
  end
end
local known = {id = ARGV[3], webhook = entry.webhook, meta = entry.meta, former = entry.former,
  compacted = entry.compacted}
put_parts(known, ARGV, 6)
write_entry(KEYS[1], known, ARGV[4])
local waiting = {}
for index, value in ipairs(redis.call('HGETALL', KEYS[3])) do
  if index % 2 == 0 then
    local orphan = cmsgpack.unpack(value) -- conversation id, message id, segment, arrival
    if orphan[1] == ARGV[3] then waiting[#waiting + 1] = orphan end
  end
end
table.sort(waiting, function(one, other) return one[4] < other[4] end)
local answer = {'recorded'}
for _, orphan in ipairs(waiting) do answer[#answer + 1] = {orphan[2], orphan[3]} end
return answer
