-- Take the newest note of a message out of what is known of the transcript.
local function forget_note(directory, digest)
  local tail = redis.call('HGET', directory, 'tail') or ''
  for at = #tail - #digest + 1, 1, -#digest do
    if string.sub(tail, at, at + #digest - 1) == digest then
      redis.call('HSET', directory, 'tail', string.sub(tail, 1, at - 1) .. string.sub(tail, at + #digest))
      if redis.call('HEXISTS', directory, 'count') == 1 then redis.call('HINCRBY', directory, 'count', -1) end
      return
    end
  end
end
