-- What is known of a conversation is one string: these parts, packed in this order. As the fields of a hash they would
-- take more than twice the memory, since a URL is too long for a hash's compact form. A part may be added at the end.
local COUNTS = {count = true, heard = true, told = true, since = true, compacted = true}

-- Give the parts by their names, without those that are not known.
local function read_entry(directory)
  local packed = redis.call('GET', directory)
  if not packed then return {} end
  local id, webhook, meta, tail, count, heard, told, since, context, facts, answering, user, former, ours, compacted =
    cmsgpack.unpack(packed)
  return {id = id, webhook = webhook, meta = meta, tail = tail, count = count, heard = heard, told = told, since = since,
    context = context, facts = facts, answering = answering, user = user, former = former, ours = ours,
    compacted = compacted}
end

-- Write the entry, to be kept for so long. Without a time it is kept for as long as before, and not made anew.
local function write_entry(directory, entry, ttl)
  local packed = cmsgpack.pack(entry.id, entry.webhook, entry.meta, entry.tail, entry.count, entry.heard, entry.told,
    entry.since, entry.context, entry.facts)
  if entry.answering or entry.user or entry.former or entry.ours or entry.compacted then -- few have any of these
    packed = packed .. cmsgpack.pack(entry.answering, entry.user, entry.former, entry.ours, entry.compacted)
  end
  if ttl then
    redis.call('SET', directory, packed, 'EX', ttl)
  else
    redis.call('SET', directory, packed, 'XX', 'KEEPTTL')
  end
end

-- Put what a caller gives into the entry: names and values in turn, from a place in a list.
local function put_parts(entry, given, from)
  for place = from, #given, 2 do
    local name, part = given[place], given[place + 1]
    entry[name] = COUNTS[name] and tonumber(part) or part
  end
end
