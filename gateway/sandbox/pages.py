"""The sandbox's pages: plain HTML that refreshes itself, everything that came from outside escaped."""

import inspect
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Mount, Route

from gateway.sandbox import answers, calls, inbox
from gateway.sandbox.v3.state import Conversation
from mappings.wire import v3

_SHOWN = 100
_SHOWN_CHARACTERS = 4000

_STYLE = """
:root { color-scheme: light dark; --line: #8883; --soft: #8881; --quiet: #777; --accent: #2a6fdb; }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 0 1rem 3rem }
nav { display: flex; flex-wrap: wrap; gap: 1.2rem; padding: 1rem 0; border-bottom: 1px solid var(--line) }
nav b { margin-right: auto }
a { color: var(--accent); text-decoration: none }
a:hover { text-decoration: underline }
a[aria-current] { color: inherit; font-weight: 600 }
h1 { font-size: 1.3rem; margin: 1.2rem 0 .4rem }
h2 { font-size: 1rem; margin: 1.6rem 0 .4rem }
p, .quiet { color: var(--quiet) }
.quiet { font-size: .87em }
code, pre { font: 13px/1.45 ui-monospace, monospace }
code { overflow-wrap: anywhere }
pre { background: var(--soft); border-radius: 6px; padding: .7rem; margin: .5rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top }
th { font-weight: 500; color: var(--quiet); font-size: .87em; white-space: nowrap }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.scroll { overflow-x: auto }
article, details { border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem; margin: .6rem 0 }
article details { padding: .3rem .6rem; margin: 0 }
summary { cursor: pointer }
summary code { margin: 0 .6rem }
.bubble { max-width: 80%; width: fit-content; padding: .4rem .8rem; margin: .35rem 0; border-radius: 12px;
  background: var(--soft); overflow-wrap: anywhere; white-space: pre-wrap }
.bubble.user { margin-left: auto; background: #2a6fdb22 }
.bubble img { display: block; margin-top: .3rem; border-radius: 6px }
.bad { color: #c0392b; font-weight: 600 }
.good { color: #1e8449 }
"""

_SCRIPT = """
setInterval(async () => {
  if (document.hidden || String(getSelection())) return;
  try {
    const answer = await fetch(location.href, {cache: "no-store"});
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [old, now] = [document.querySelector("main"), page.querySelector("main")];
    if (!answer.ok || !now) return;
    for (const open of old.querySelectorAll("details[open]")) {
      const same = now.querySelector("#" + open.id);
      if (same) same.open = true;
    }
    if (old.innerHTML !== now.innerHTML) old.replaceWith(document.adoptNode(now));
  } catch {}
}, 1500);
"""

_NAVIGATION = (("/conversations", "Conversations"), ("/inbox", "Inbox"), ("/calls", "Calls"))


def respond(title: str, content: str, *, current: str = "", status: int = 200) -> HTMLResponse:
    """Answer with a whole page around the content, which is HTML already."""
    nonce = secrets.token_urlsafe(12)
    links = "".join(
        f'<a href="{path}"{" aria-current=page" if path == current else ""}>{name}</a>' for path, name in _NAVIGATION
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)} · sandbox</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style nonce="{nonce}">{_STYLE}</style></head>'
        f'<body><nav><b><a href="/">Sandbox</a></b>{links}</nav>'
        f"<main><h1>{escape(title)}</h1>{content}</main>"
        f'<script nonce="{nonce}">{_SCRIPT}</script></body></html>'
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(page, status, {"content-security-policy": policy, "cache-control": "no-store"})


def overview(
    base: str,
    conversations: Sequence[Conversation],
    deliveries: Sequence[inbox.Delivery],
    log: Sequence[calls.Call],
    reference: Sequence[BaseRoute],
) -> str:
    """Return the landing page: where to point a client, what happened last, and every route."""
    origin = escape(_origin(base))
    return (
        "<p>An emulator of the stateful API and an inbox for webhooks. All of it is in memory.</p><table>"
        f"<tr><th>API base URL</th><td><code>{escape(base)}</code></td></tr>"
        f"<tr><th>Webhook inbox</th><td><code>{origin}/inbox/any/path</code></td></tr>"
        f"<tr><th>Faults, records, reset</th><td><code>{origin}/sandbox/…</code></td></tr></table>"
        f'<h2><a href="/conversations">{_count(len(conversations), "conversation")}</a></h2>'
        f"{_conversation_table(conversations[:10])}"
        f'<h2><a href="/inbox">Inbox</a></h2>{_deliveries(deliveries[:3])}'
        f'<h2><a href="/calls">Calls</a></h2>{_call_table(log[:10])}'
        f'<h2>Routes</h2><details id="routes"><summary>What can be asked of this server</summary>'
        f"{_route_table(reference)}</details>"
    )


def inbox_page(deliveries: Sequence[inbox.Delivery]) -> str:
    """Return the inbox, newest first."""
    shown = deliveries[:_SHOWN]
    more = f"<p>The newest {_SHOWN} of {len(deliveries)}.</p>" if len(deliveries) > _SHOWN else ""
    note = '<p>What was posted to <code>/inbox/…</code>, newest first · <a href="/inbox.json">JSON</a></p>'
    return note + more + _deliveries(shown)


def conversation_list(conversations: Sequence[Conversation]) -> str:
    """Return the list of conversations."""
    return _conversation_table(conversations[:_SHOWN])


def conversation_page(conversation: Conversation, *, speaking: bool) -> str:
    """Return one conversation: its settings and its transcript."""
    rows = {
        "id": conversation.id,
        "bot": conversation.bot_id,
        "user": conversation.user_id,
        "account": conversation.account,
        "webhook": conversation.webhook or "none",
        "platform": conversation.platform or "none",
        "freeform": conversation.freeform or "none",
        "segment": "as the account says" if conversation.segment is None else str(conversation.segment).lower(),
    }
    table = "".join(
        f"<tr><th>{name}</th><td><code>{escape(_clip(value))}</code></td></tr>" for name, value in rows.items()
    )
    talk = "".join(_bubble(message) for message in conversation.messages[-_SHOWN:])
    return f"<table>{table}</table><h2>Transcript</h2>{talk}{'<p>is typing…</p>' if speaking else ''}"


def call_list(log: Sequence[calls.Call]) -> str:
    """Return the API calls with their bodies, newest first."""
    parts = ['<p>Calls of the API, newest first · <a href="/sandbox/calls">JSON</a></p>']
    for call in log[:_SHOWN]:
        body = _pretty(call.body)
        parts.append(
            f'<details id="call-{call.n}"><summary>{_time(call.at)} <b>{escape(call.method)}</b>'
            f"<code>{escape(_target(call))}</code>{_status(call)}</summary>"
            f'<div class="quiet">account {escape(call.account or "none")} · {call.milliseconds or 0:.0f} ms'
            f"{escape(f' · fault: {call.fault}') if call.fault else ''}</div>"
            f"{f'<pre>{body}</pre>' if body else ''}</details>"
        )
    return "".join(parts) + _nothing(log)


def _conversation_table(conversations: Iterable[Conversation]) -> str:
    rows = "".join(
        f'<tr><td><a href="/conversations/{escape(one.id)}"><code>{escape(one.id[:8])}</code></a></td>'
        f"<td>{escape(_clip(one.bot_id, 36))}</td><td>{escape(_clip(one.user_id, 36))}</td>"
        f'<td class="n">{len(one.messages)}</td>'
        f"<td>{escape(_clip(one.messages[-1].text, 80)) if one.messages else ''}</td></tr>"
        for one in conversations
    )
    if not rows:
        return "<p>None yet.</p>"
    head = '<tr><th>id</th><th>bot</th><th>user</th><th class="n">messages</th><th>last message</th></tr>'
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _call_table(log: Sequence[calls.Call]) -> str:
    rows = "".join(
        f"<tr><td>{_time(call.at)}</td><td>{escape(call.method)}</td>"
        f"<td><code>{escape(_target(call))}</code></td><td>{_status(call)}</td></tr>"
        for call in log
    )
    return f'<div class="scroll"><table>{rows}</table></div>' if rows else "<p>None yet.</p>"


def _route_table(routes: Sequence[BaseRoute]) -> str:
    rows = "".join(
        f"<tr><td>{' '.join(sorted((route.methods or set()) - {'HEAD'}))}</td>"
        f"<td><code>{escape(path)}</code></td>"
        f"<td>{escape(inspect.getdoc(route.endpoint) or '')}</td></tr>"
        for path, route in _flat(routes)
    )
    return f'<div class="scroll"><table>{rows}</table></div>'


def _flat(routes: Iterable[BaseRoute], below: str = "") -> Iterator[tuple[str, Route]]:
    """Give every route with its whole path, also those of mounted applications."""
    for route in routes:
        if isinstance(route, Route):
            yield below + route.path, route
        elif isinstance(route, Mount):
            yield from _flat(route.routes, below + route.path)


def _deliveries(deliveries: Sequence[inbox.Delivery]) -> str:
    return "".join(_delivery(delivery) for delivery in deliveries) + _nothing(deliveries)


def _delivery(delivery: inbox.Delivery) -> str:
    target = delivery.path + (f"?{delivery.query}" if delivery.query else "")
    good = "good" if delivery.answered == "200" else "bad"
    headers = "\n".join(f"{name}: {value}" for name, value in delivery.headers)
    return (
        f'<article><div class="quiet">#{delivery.n} · {_time(delivery.received_at)} · '
        f'answered <span class="{good}">{escape(delivery.answered)}</span></div>'
        f"<div><b>{escape(delivery.method)}</b> <code>{escape(target)}</code></div>"
        f"<pre>{_pretty(delivery.body) or '(no body)'}</pre>"
        f'<details id="delivery-{delivery.n}"><summary>{_count(len(delivery.headers), "header")}, '
        f"{_count(len(delivery.body), 'byte')}</summary><pre>{escape(headers)}</pre></details></article>"
    )


def _bubble(message: v3.Message) -> str:
    picture = ""
    if message.attached_media is not None:
        url = message.attached_media.url
        path = urlsplit(url).path
        if path.startswith("/pictures/"):  # one of ours, whatever name this server is reached by
            picture = f'<img src="{escape(path)}" alt="" width="48" height="48">'
        picture += f'<code class="quiet">{escape(_clip(url, 200))}</code>'
    speaker = "bot" if message.from_bot else "user"
    return f'<div class="bubble {speaker}">{escape(_clip(message.text))}{picture}</div>'


def _pretty(body: bytes) -> str:
    value = answers.parse(body)
    text = json.dumps(value, indent=2, ensure_ascii=False) if value is not None else body.decode(errors="replace")
    return escape(_clip(text))


def _target(call: calls.Call) -> str:
    return call.path + (f"?{call.query}" if call.query else "")


def _status(call: calls.Call) -> str:
    if call.status is None:
        return '<span class="bad">cut</span>' if call.finished else '<span class="quiet">running</span>'
    return f'<span class="{"good" if call.status < 400 else "bad"}">{call.status}</span>'


def _time(at: datetime) -> str:
    moment = at.astimezone(UTC)
    return f'<time class="quiet" datetime="{moment.isoformat()}">{moment:%H:%M:%S} UTC</time>'


def _clip(text: str, characters: int = _SHOWN_CHARACTERS) -> str:
    return text if len(text) <= characters else f"{text[:characters]}…"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _nothing(items: Sequence[object]) -> str:
    return "" if items else "<p>Nothing yet.</p>"


def _origin(base: str) -> str:
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
