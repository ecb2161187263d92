// Drives a server with the vendor's own client, and prints what came of it as one line of JSON.
// Usage: node chatbotkit.mjs BASE_URL (with @chatbotkit/sdk where node finds it, beside this file)
import { ConversationClient } from '@chatbotkit/sdk/conversation/index.js'

const client = new ConversationClient({ baseUrl: process.argv[2], secret: 'key-one', retries: 0 })
const seen = {}

async function refusal(call) {
  try {
    await call()
  } catch (error) {
    return { message: error.message, code: error.code }
  }
}

async function gather(stream) {
  const events = []
  for await (const event of stream) events.push(event)
  return events
}

const messages = [{ type: 'bot', text: 'Hi!' }]
seen.created = await client.create({ botId: 'b-1', name: 'a talk', meta: { user: 'max' }, messages })
const id = seen.created.id
await client.create({ botId: 'b-1', meta: { user: 'eva' } })
seen.listed = await client.list({ order: 'asc', take: 1 })
seen.rest = await client.list({ order: 'asc', cursor: seen.listed.cursor })
seen.filtered = await client.list({ meta: { user: 'max' } })
seen.streamedList = await gather(client.list({ order: 'asc' }).stream())
seen.updated = await client.update(id, { meta: { age: 30 } })
seen.fetched = await client.fetch(id)
seen.sent = await client.send(id, { text: 'Hello?' })
seen.received = await client.receive(id, {})
seen.completed = await client.complete(id, { text: 'And now?' })
seen.streamedSend = await gather(client.send(id, { text: 'One more.' }).stream())
seen.streamedReceive = await gather(client.receive(id, {}).stream())
seen.streamedComplete = await gather(client.complete(id, { text: 'The last one.' }).stream())
seen.messages = await client.message.list(id, { order: 'asc' })
seen.deleted = await client.delete(id)
seen.gone = await refusal(() => client.fetch(id))
seen.stranger = await refusal(() => new ConversationClient({ baseUrl: process.argv[2], secret: '', retries: 0 }).list())
console.log(JSON.stringify(seen))
