"""A run that went well, small enough to be read: two keys, one conversation each, three requests; tests spoil it."""

import json
from dataclasses import replace
from typing import Any

from tests.chaos.records import Arrival, Call, Callback, Class, Conversation, Exchange, Fault, Logs, Request, Spoken

BEGAN = 1_000_000.0
BOT = "bot-1"
KEYS = ("key-one", "key-two")
ACCOUNTS = {"key-one": "account-one", "key-two": "account-two"}


def request(request_id: str, at: float, key: str = KEYS[0], **changes: Any) -> Request:
    """Give a request that was accepted 0.1 s after it was sent."""
    exchange = Exchange(replica=0, sent_at=at, ended_at=at + 0.1, status=200, message_id=f"d-{request_id}")
    made = Request(
        id=request_id,
        key=key,
        bot=BOT,
        user="user",
        text=f"[{request_id}] hello",
        history=(),
        webhook=f"http://host/w/{request_id}?token=secret-{request_id}&a=b",
        min_delay=1.0,
        max_delay=2.0,
        exchanges=[exchange],
    )
    return replace(made, **changes)


def create(one: Request, at: float) -> Call:
    """Give the call that began a request's conversation."""
    return Call(
        at=at,
        method="POST",
        path="/api/conversations",
        account=ACCOUNTS[one.key],
        status=200,
        fault=None,
        pair=(one.bot, one.user),
        seed=one.history,
    )


def post(one: Request, conversation: str, at: float) -> Call:
    """Give the call that posted a request's message."""
    path = f"/api/conversations/{conversation}/messages"
    return Call(at, "POST", path, ACCOUNTS[one.key], 202, None, posted=(False, one.text))


def said(one: Request) -> tuple[str, str]:
    """Give what the bot says to a request."""
    return f"You said “{one.text}”.", f"That was {one.id}."


def arrival(one: Request, at: float, **changes: Any) -> Arrival:
    """Give the delivery of the reply to a request."""
    texts = said(one)
    made = Arrival(
        at=at,
        ended_at=at + 0.01,
        receiver="steady",
        request=one.id,
        query=one.webhook.partition("?")[2],
        delivery=f"d-{one.id}",
        attempt=1,
        body=json.dumps({"completion": texts, "id": f"d-{one.id}"}).encode(),
        texts=texts,
        answer="200",
        acknowledged=True,
    )
    return replace(made, **changes)


def callbacks(one: Request, conversation: str, at: float) -> list[Callback]:
    """Give the callbacks of the reply to a request, each acknowledged."""
    return [
        Callback(conversation, f"m-{one.id}-{number}", text, "delivered", at + number * 0.1, at + number * 0.1 + 0.01)
        for number, text in enumerate(said(one))
    ]


def conversation(name: str, *requests: Request) -> Conversation:
    """Give the upstream's transcript of requests that were all answered."""
    messages = []
    for one in requests:
        messages.append(Spoken(f"u-{one.id}", from_bot=False, text=one.text))
        messages += [Spoken(f"m-{one.id}-{index}", from_bot=True, text=text) for index, text in enumerate(said(one))]
    return Conversation(name, ACCOUNTS[requests[0].key], BOT, "user", tuple(messages))


def fault(name: str, kind: Class, began: float, ended: float, target: str = "") -> Fault:
    """Give a fault, its times counted from the story's begin."""
    return Fault(name, kind, BEGAN + began, BEGAN + ended, target)


def good_logs() -> Logs:
    """Give the whole story: c0 says two things under one key, c1 one thing under another."""
    first, second = request("c0.1", BEGAN), request("c0.2", BEGAN + 10)
    other = request("c1.1", BEGAN + 1, key=KEYS[1])
    return Logs(
        requests=[first, second, other],
        calls=[
            create(first, BEGAN + 0.02),
            post(first, "v-0", BEGAN + 0.05),
            create(other, BEGAN + 1.02),
            post(other, "v-1", BEGAN + 1.05),
            post(second, "v-0", BEGAN + 10.05),
        ],
        conversations=[conversation("v-0", first, second), conversation("v-1", other)],
        callbacks=[
            *callbacks(first, "v-0", BEGAN + 0.4),
            *callbacks(other, "v-1", BEGAN + 1.4),
            *callbacks(second, "v-0", BEGAN + 10.4),
        ],
        arrivals=[arrival(first, BEGAN + 1.5), arrival(other, BEGAN + 2.5), arrival(second, BEGAN + 11.5)],
        accounts=dict(ACCOUNTS),
    )
