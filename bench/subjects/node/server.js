// The front half of a turn by hand: node:http, undici and ioredis.
import { createHash, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import Redis from "ioredis";
import { Pool } from "undici";

const redis = new Redis(Number(process.env.REDIS_PORT), "127.0.0.1");
const v3 = new Pool(`http://127.0.0.1:${process.env.V3_PORT}`, { connections: 64 });

class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function readBody(request) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)));
    request.on("error", reject);
  });
}

function validate(text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Refused(400, "bad_request", "the body is not JSON");
  }
  const user = body.user_id ?? body.conversation_id;
  if (typeof body.bot_id !== "string" || typeof user !== "string") {
    throw new Refused(400, "bad_request", "bot_id and user_id: required");
  }
  if (typeof body.message !== "string" || typeof body.webhook !== "string") {
    throw new Refused(422, "out_of_range", "message and webhook: required");
  }
  for (const item of body.messages ?? []) {
    if (typeof item.bot !== "boolean" || !Array.isArray(item.content)) {
      throw new Refused(400, "bad_request", "messages: wrong shape");
    }
    for (const segment of item.content) {
      if (typeof segment !== "string") throw new Refused(400, "bad_request", "messages: wrong shape");
    }
  }
  const low = body.min_delay ?? 0;
  const high = body.max_delay ?? low;
  if (low > high) throw new Refused(422, "out_of_range", "min_delay: greater than max_delay");
  return { body, user, low, high };
}

async function complete(request) {
  const authorization = request.headers.authorization ?? "";
  if (!/^bearer +\S+$/i.test(authorization)) throw new Refused(401, "unauthorized", "Authorization: required");
  const { body, user, low, high } = validate((await readBody(request)).toString());
  const id = randomUUID();
  const tenant = createHash("md5").update(authorization.slice(7).trim()).digest("hex");
  const conversation = `node:conv:${tenant}:${body.bot_id}:${user}`;
  const due = Date.now() / 1000 + low + (high - low) * Math.random();
  const [[failed, upstream], [unsaved]] = await redis
    .pipeline()
    .get(conversation)
    .hset(`node:turn:${id}`, { conversation, webhook: body.webhook, due, request: id })
    .expire(`node:turn:${id}`, 86400)
    .exec();
  if (failed || unsaved) throw new Refused(503, "store_unavailable", "the store is away");
  if (upstream === null) throw new Refused(404, "not_found", "no such conversation");
  const message = { text: body.message, from_bot: false, sent_at: Math.floor(Date.now() / 1000) };
  const answer = await v3.request({
    method: "POST",
    path: `/api/conversations/${upstream}/messages`,
    headers: { authorization, "content-type": "application/json" },
    body: JSON.stringify({ message }),
  });
  await answer.body.dump();
  if (answer.statusCode >= 300) throw new Refused(502, "upstream_failed", `the upstream answered ${answer.statusCode}`);
  return { status: "accepted", conversation_id: body.conversation_id, bot_id: body.bot_id, message_id: id };
}

createServer(async (request, response) => {
  let status = 200;
  let answer;
  try {
    answer = await complete(request);
  } catch (error) {
    status = error.status ?? 500;
    answer = { error: error.code ?? "internal", message: error.message, request_id: randomUUID() };
  }
  const text = JSON.stringify(answer);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}).listen(Number(process.env.PORT), "127.0.0.1");
