-- What is known of a conversation is one string: its parts in this order, packed. As fields of a hash they would take
-- twice the memory, since a URL is too long for a hash's compact form. A part may be added at the end.
local PARTS = {'id', 'webhook', 'meta', 'tail', 'count', 'heard', 'told', 'since', 'context', 'facts', 'answering',
  'user', 'former', 'ours', 'compacted'}
local COUNTS = {count = true, heard = true, told = true, since = true, compacted = true}

-- Give the parts by their names, without those that are not known.
local function read_entry(directory)
  local packed, entry = redis.call('GET', directory), {}
  if packed then
    for place, part in ipairs(cmsgpack.unpack(packed)) do entry[PARTS[place]] = part or nil end
  end
  return entry
end

-- Write the entry, to be kept for so long. Without a time it is kept for as long as before, and not made anew.
local function write_entry(directory, entry, ttl)
  local parts, last = {}, 0
  for place, name in ipairs(PARTS) do
    parts[place] = entry[name] or false
    if entry[name] then last = place end
  end
  for place = #PARTS, last + 1, -1 do parts[place] = nil end
  if ttl then
    redis.call('SET', directory, cmsgpack.pack(parts), 'EX', ttl)
  else
    redis.call('SET', directory, cmsgpack.pack(parts), 'XX', 'KEEPTTL')
  end
end

-- Put what a caller gives into the entry: names and values in turn, from a place in a list.
local function put_parts(entry, given, from)
  for place = from, #given, 2 do
    local name, part = given[place], given[place + 1]
    entry[name] = COUNTS[name] and tonumber(part) or part
  end
end
