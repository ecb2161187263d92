"""Whoever does not belong: callbacks that the upstream never sent, requests that no client would send."""

import asyncio
import base64
import random
from collections.abc import Callable, Sequence

import aiohttp

from tests.chaos import texts
from tests.chaos.collector import Collector
from tests.chaos.receivers import Receivers
from tests.chaos.records import Forgery, Hostile
from tests.chaos.world import Replica, now

PAUSE_SECONDS = (0.3, 1.2)
TRY_SECONDS = 15.0
DEPTH = 100_000


class Adversary:
    """Tries what must not work, over and over, and keeps what came of it."""

    def __init__(
        self, draw: random.Random, replicas: Sequence[Replica], collector: Collector, receivers: Receivers, key: str
    ) -> None:
        self._draw = draw
        self._replicas = replicas
        self._collector = collector
        self._receivers = receivers
        self._key = key
        self.forgeries: list[Forgery] = []
        self.hostile: list[Hostile] = []

    async def run(self) -> None:
        """Go on until it is cancelled."""
        timeout = aiohttp.ClientTimeout(total=TRY_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            while True:
                await asyncio.sleep(self._draw.uniform(*PAUSE_SECONDS))
                if self._draw.random() < 0.5:
                    await self._forge(session)
                else:
                    await self._annoy(session)

    async def _forge(self, session: aiohttp.ClientSession) -> None:
        await self._collector.look_at_conversations()
        known = [one for one in self._collector.conversations if self._collector.webhook_of(one.id)]
        if len(known) < 2:
            return
        victim, other = self._draw.sample(known, 2)
        path = (self._collector.webhook_of(victim.id) or "").partition("/callbacks/")[2]
        dialect, _, token = path.partition("/")
        kind = self._draw.choice(["another conversation's URL", "an unknown token", "a changed token", "a cut token"])
        match kind:
            case "another conversation's URL":
                names = other.id
            case "an unknown token":
                token, names = base64.urlsafe_b64encode(self._draw.randbytes(32)).decode().rstrip("="), victim.id
            case "a changed token":
                token, names = ("B" if token[0] == "A" else "A") + token[1:], victim.id
            case _:
                token, names = token[:20], victim.id
        text = f"{texts.BOT_FORGED} {len(self.forgeries)}"
        body = {
            "event": "message.created",
            "conversation_id": names,
            "message": {"id": f"forged-{len(self.forgeries)}", "text": text, "from_bot": True, "sent_at": int(now())},
        }
        sent_at = now()
        status = await self._post(session, f"/callbacks/{dialect}/{token}", {}, json=body)
        self.forgeries.append(Forgery(kind, text, sent_at, now(), status))

    async def _annoy(self, session: aiohttp.ClientSession) -> None:
        kind = self._draw.choice(list(_HOSTILE))
        body, headers = _HOSTILE[kind](self._receivers)
        authorized = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"} | headers
        sent_at = now()
        status = await self._post(session, "/v2/complete", authorized, data=body)
        self.hostile.append(Hostile(kind, sent_at, now(), status))

    async def _post(
        self,
        session: aiohttp.ClientSession,
        path: str,
        headers: dict[str, str],
        *,
        data: bytes | None = None,
        json: object = None,
    ) -> int | None:
        url = self._draw.choice(self._replicas).url + path
        try:
            async with session.post(url, data=data, json=json, headers=headers) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None


def _request(webhook: str, message: str = '"hello"', extra: str = "") -> bytes:
    bot = "00000000-0000-4000-8000-000000000001"
    turn = f'"bot_id": "{bot}", "user_id": "nobody", "message": {message}, "messages": []'
    return f'{{{turn}, "webhook": "{webhook}"{extra}}}'.encode()


_HOSTILE: dict[str, Callable[[Receivers], tuple[bytes, dict[str, str]]]] = {
    "not JSON": lambda _: (b'{"bot_id": ', {}),
    "no object": lambda _: (b"[1, 2, 3]", {}),
    "deep nesting": lambda _: (b'{"messages": ' + b"[" * DEPTH + b"]" * DEPTH + b"}", {}),
    "not UTF-8": lambda _: (b'{"bot_id": "\xff\xfe"}', {}),
    "a lone surrogate": lambda receivers: (_request(receivers.traps[0], message=r'"\ud800"'), {}),
    "a wrong type": lambda receivers: (_request(receivers.traps[0], message="17"), {}),
    "a window upside down": lambda r: (_request(r.traps[0], extra=', "min_delay": 9, "max_delay": 1'), {}),
    "a forbidden webhook": lambda receivers: (_request(receivers.traps[1]), {}),
    "a webhook in disguise": lambda _: (_request("http://2130706434/never"), {}),
    "no key": lambda receivers: (_request(receivers.traps[0]), {"Authorization": ""}),
    "a wrong media type": lambda receivers: (_request(receivers.traps[0]), {"Content-Type": "text/plain"}),
}
"""Requests that must be refused with a 4xx, whatever else goes on; none of them may reach the traps."""
