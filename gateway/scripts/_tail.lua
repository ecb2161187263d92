-- Note a message behind what is known of the transcript, of which so many characters are kept.
local function note_message(entry, digest, longest)
  entry.tail = string.sub((entry.tail or '') .. digest, -longest)
  if entry.count then entry.count = entry.count + 1 end
end

-- Take the newest note of a message out of what is known of the transcript.
local function forget_note(entry, digest)
  local tail = entry.tail or ''
  for at = #tail - #digest + 1, 1, -#digest do
    if string.sub(tail, at, at + #digest - 1) == digest then
      entry.tail = string.sub(tail, 1, at - 1) .. string.sub(tail, at + #digest)
      if entry.count then entry.count = entry.count - 1 end
      return
    end
  end
end
