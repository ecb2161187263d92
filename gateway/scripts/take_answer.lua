#!lua flags=allow-oom
-- Take the answer that a client waits for, once its segments have been gathered.
--
-- KEYS  1 directory  2 fingerprints  3 turn
-- ARGV  1 offset ms  2 turn id  3 how long the answer is kept for whoever joined, s  4 the same where the client named
--       the request by a key, s
-- Returns {'gone'} when there is no such turn (any more), {'waiting', ms until it may be whole, '' when nothing has
-- come}, or {'answer', segments...}, also when it was taken before: by the call that this repeats, or by a twin.
-- include _entry
local directory, fingerprints, turn, id = KEYS[1], KEYS[2], KEYS[3], ARGV[2]
local fields = redis.call('HMGET', turn, 'state', 'count', 'quiet', 'fingerprint', 'keep')
if not fields[1] then return {'gone'} end
if not fields[2] then return {'waiting', ''} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
if fields[1] ~= 'delivered' then
  if fields[1] ~= 'answered' then return {'waiting', ''} end -- opened again: what has come may not be all
  if now < tonumber(fields[3]) then return {'waiting', fields[3] - now} end
  redis.call('HSET', turn, 'state', 'delivered')
  redis.call('EXPIRE', turn, fields[5] and ARGV[4] or ARGV[3])
  -- An identical request is a new turn from now on.
  if fields[4] and redis.call('HGET', fingerprints, fields[4]) == id then redis.call('HDEL', fingerprints, fields[4]) end
  local entry = read_entry(directory)
  if entry.answering == id then
    entry.answering = nil
    write_entry(directory, entry)
  end
end
local answer = {'answer'}
for number = 1, tonumber(fields[2]) do answer[#answer + 1] = redis.call('HGET', turn, 'segment:' .. number) end
return answer
