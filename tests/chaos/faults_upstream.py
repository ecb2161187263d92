"""What befalls the upstream: the way to it, its answers, its conversations, its callbacks."""

import asyncio

from gateway.sandbox.calls import account_name
from gateway.sandbox.faults import RequestFault
from gateway.sandbox.v3.callbacks import CallbackFault, FaultKind
from tests.chaos.chaos import Chaos, fault
from tests.chaos.records import Class


@fault("upstream-cut")
async def upstream_cut(chaos: Chaos) -> None:
    """Reset all connections to the upstream, several times."""
    async with chaos.noting("upstream cut", Class.UPSTREAM):
        for _ in range(5):
            chaos.world.upstream_proxy.cut()
            await asyncio.sleep(chaos.draw.uniform(0.05, 0.4))


@fault("upstream-black-hole")
async def upstream_black_hole(chaos: Chaos) -> None:
    """Take what is sent to the upstream, and let no answer through."""
    async with chaos.noting("upstream black hole", Class.UPSTREAM):
        chaos.world.upstream_proxy.black_hole()
        try:
            await asyncio.sleep(chaos.draw.uniform(1, 5))
        finally:
            chaos.world.upstream_proxy.forward()


@fault("upstream-fails")
async def upstream_fails(chaos: Chaos) -> None:
    """Let calls fail before they have their effect."""
    await _upstream_errors(chaos, "before")


@fault("upstream-fails-late")
async def upstream_fails_late(chaos: Chaos) -> None:
    """Let calls fail after they have had their effect."""
    await _upstream_errors(chaos, "after")


async def _upstream_errors(chaos: Chaos, when: str) -> None:
    kinds: list[dict[str, object]] = [
        {"status": 500},
        {"status": 502, "body": "html"},
        {"status": 503, "headers": {"Retry-After": "1"}} if when == "before" else {"status": 504},
        {"status": 200, "body": "truncated"},
        {"action": "drop"},
        {"action": "hang", "seconds": chaos.draw.uniform(1, 5)},
        {"status": 429, "headers": {"Retry-After": "1"}} if when == "before" else {"status": 500, "body": "empty"},
    ]
    chosen = chaos.draw.sample(kinds, 3)
    rules = [
        RequestFault.model_validate({"when": when, "times": 3, "skip": chaos.draw.randrange(3), "method": "*"} | one)
        for one in chosen
    ]
    detail = ", ".join(rule.label() for rule in rules)
    async with chaos.noting(f"upstream fails {when}", Class.UPSTREAM, detail=detail):
        await chaos.world.sandbox.arm(*rules)
        await asyncio.sleep(chaos.draw.uniform(1.5, 3))
        await chaos.world.sandbox.arm()


@fault("deletion")
async def deletion(chaos: Chaos) -> None:
    """Delete an idle conversation behind the gateway's back."""
    await chaos.collector.look_at_conversations()
    idle = [chat for chat in chaos.clients.chats.values() if chat.is_idle]
    if not idle:
        return
    chat = chaos.draw.choice(idle)
    found = [
        one.id
        for one in chaos.collector.conversations
        if (one.account, one.bot, one.user) == (account_name(chat.key), chat.bot, chat.user)
        and one.id not in _deleted(chaos)
    ]
    chat.paused = True
    try:
        await asyncio.sleep(3)  # the bot has said what it had to say
        await chaos.collector.look_at_conversations()
        for conversation_id in found[-1:]:
            async with chaos.noting("deletion", Class.DELETION, target=conversation_id):
                await chaos.world.sandbox.delete(conversation_id)
    finally:
        chat.paused = False


def _deleted(chaos: Chaos) -> set[str]:
    return {fault.target for fault in chaos.faults if fault.kind is Class.DELETION}


@fault("callbacks-twice")
async def callbacks_twice(chaos: Chaos) -> None:
    """Send callbacks twice."""
    await _callbacks(chaos, "duplicate")


@fault("callbacks-disordered")
async def callbacks_disordered(chaos: Chaos) -> None:
    """Send callbacks after the ones that follow them."""
    await _callbacks(chaos, "reorder")


@fault("callbacks-early")
async def callbacks_early(chaos: Chaos) -> None:
    """Send callbacks before the message that they answer is acknowledged."""
    await _callbacks(chaos, "before_ack")


@fault("callbacks-lost")
async def callbacks_lost(chaos: Chaos) -> None:
    """Never send some callbacks."""
    await _callbacks(chaos, "lost")


async def _callbacks(chaos: Chaos, kind: FaultKind) -> None:
    async with chaos.noting(f"callbacks {kind}", Class.CALLBACK):
        await chaos.world.sandbox.arm_callbacks(CallbackFault(kind=kind, times=chaos.draw.randint(2, 5)))
        await asyncio.sleep(chaos.draw.uniform(1.5, 3))
        await chaos.world.sandbox.arm_callbacks()
