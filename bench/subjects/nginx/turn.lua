-- The front half of a turn: read the request, look the conversation up and remember the turn in one round trip, post.
local cjson = require "cjson.safe"
local redis_port = tonumber(os.getenv("REDIS_PORT"))

local function refuse(status, code, message)
  ngx.status = status
  ngx.header.content_type = "application/json"
  ngx.print(cjson.encode({error = code, message = message, request_id = ngx.var.request_id}))
  return ngx.exit(status)
end

local function command(...)
  local parts = {"*" .. select("#", ...) .. "\r\n"}
  for index = 1, select("#", ...) do
    local argument = tostring(select(index, ...))
    parts[#parts + 1] = "$" .. #argument .. "\r\n" .. argument .. "\r\n"
  end
  return table.concat(parts)
end

local function reply(socket)
  local line, fault = socket:receive("*l")
  if not line then return nil, fault end
  local kind, rest = line:sub(1, 1), line:sub(2)
  if kind == "-" then return nil, rest end
  if kind ~= "$" then return rest end
  local length = tonumber(rest)
  if length < 0 then return ngx.null end
  local text, broken = socket:receive(length)
  if not text then return nil, broken end
  socket:receive(2)
  return text
end

local authorization = ngx.var.http_authorization or ""
local key = authorization:match("^[Bb]earer +(%S+)$")
if not key then return refuse(401, "unauthorized", "Authorization: required") end

ngx.req.read_body()
local request = cjson.decode(ngx.req.get_body_data() or "")
if type(request) ~= "table" then return refuse(400, "bad_request", "the body is not JSON") end
local user = type(request.user_id) == "string" and request.user_id or request.conversation_id
if type(request.bot_id) ~= "string" or type(user) ~= "string" then
  return refuse(400, "bad_request", "bot_id and user_id: required")
end
if type(request.message) ~= "string" or type(request.webhook) ~= "string" then
  return refuse(422, "out_of_range", "message and webhook: required")
end
for _, item in ipairs(request.messages or {}) do
  if type(item.bot) ~= "boolean" or type(item.content) ~= "table" then
    return refuse(400, "bad_request", "messages: wrong shape")
  end
  for _, segment in ipairs(item.content) do
    if type(segment) ~= "string" then return refuse(400, "bad_request", "messages: wrong shape") end
  end
end
local low = tonumber(request.min_delay) or 0
local high = tonumber(request.max_delay) or low
if low > high then return refuse(422, "out_of_range", "min_delay: greater than max_delay") end

local id = ngx.var.request_id
local conversation = "nginx:conv:" .. ngx.md5(key) .. ":" .. request.bot_id .. ":" .. user
local turn = "nginx:turn:" .. id
local socket = ngx.socket.tcp()
socket:settimeout(1500)
local connected = socket:connect("127.0.0.1", redis_port)
if not connected then return refuse(503, "store_unavailable", "the store is away") end
socket:send(command("GET", conversation)
  .. command("HSET", turn, "conversation", conversation, "webhook", request.webhook,
    "due", ngx.now() + low + (high - low) * math.random(), "request", ngx.var.request_id)
  .. command("EXPIRE", turn, 86400))
local upstream, fault = reply(socket)
local stored = reply(socket) and reply(socket)
if not upstream or not stored then return refuse(503, "store_unavailable", fault or "the store is away") end
socket:setkeepalive(60000, 64)
if upstream == ngx.null then return refuse(404, "not_found", "no such conversation") end

ngx.req.set_header("Content-Type", "application/json")
local answer = ngx.location.capture("/upstream/api/conversations/" .. upstream .. "/messages", {
  method = ngx.HTTP_POST,
  body = cjson.encode({message = {text = request.message, from_bot = false, sent_at = ngx.time()}}),
})
if answer.status >= 300 then return refuse(502, "upstream_failed", "the upstream answered " .. answer.status) end
ngx.header.content_type = "application/json"
ngx.print(cjson.encode({
  status = "accepted", conversation_id = request.conversation_id, bot_id = request.bot_id, message_id = id,
}))
