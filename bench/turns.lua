-- For wrk: POST a template's requests, user after user, each with a number of its own; tell the result as JSON.
--
-- Arguments: the template's file, the API key, how many users, the first number.
local head, parts, users, number = nil, {}, 1, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local text = file:read("*a")
  file:close()
  head = {["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. args[2]}
  users, number = tonumber(args[3]), tonumber(args[4])
  local from = 1
  while true do
    local first, last = text:find("@%u+@", from)
    parts[#parts + 1] = text:sub(from, (first or 0) - 1)
    if not first then break end
    parts[#parts + 1] = text:sub(first, last)
    from = last + 1
  end
end

function request()
  number = number + 1
  local user, body = tostring(number % users), {}
  for index, part in ipairs(parts) do
    if part == "@USER@" then
      body[index] = user
    elseif part == "@NUMBER@" then
      body[index] = tostring(number)
    else
      body[index] = part
    end
  end
  return wrk.format("POST", "/v2/complete", head, table.concat(body))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failures": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
