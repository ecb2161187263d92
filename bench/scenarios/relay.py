"""The relay under a large backlog: replies pending by the hundred thousand, a thousand falling due each second."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import click

from bench import deliveries, report, requests, wire
from bench.mock_v3 import CHECK_KEY, HOSTS
from bench.plan import Plan
from bench.recording import DELAY_MILLISECONDS, Item, Listener, Recording, write
from bench.scenarios import front_half
from bench.subjects.gateway import Gateway, conversation, read_entry
from bench.world import World, open_world

PER_SECOND = 1_000
SECONDS = 20
QUICK_SECONDS = 4
WRITING_PER_SECOND = 2_000
"""What the writing of replies manages on a slow machine: those that are to be delivered fall due only after it."""

STARTING_SECONDS = 8
TENANTS = 24

DAY_MILLISECONDS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a store with so many conversations, each with a pending reply, showed."""

    conversations: int
    lateness: deliveries.Lateness
    cpu_us: float
    store_cpu_us: float
    bytes_per_reply: float
    bytes_per_conversation: float
    front_half: front_half.Figures


async def run(plan: Plan) -> None:
    """Measure with backlogs of growing size."""
    sizes = [10_000] if plan.quick else [100_000, *([1_000_000] if plan.large else [])]
    seconds = QUICK_SECONDS if plan.quick else SECONDS
    found = [await measure(size, seconds) for size in sizes]
    plan.tell(
        "relay",
        [
            f"The relay of one worker, {PER_SECOND:,} replies falling due each second for {seconds} s,",
            "out of so many that are pending, each of a conversation of its own; 24 tenants and hosts:",
            "",
            *report.table(
                ["pending", "lateness p50 ms", "p99 ms", "max ms", "gateway µs each", "store µs each",
                 "store bytes per reply", "per conversation"],
                [
                    [
                        f"{one.conversations:,}",
                        *(f"{figure:,.0f}" for figure in (
                            one.lateness.p50_ms, one.lateness.p99_ms, one.lateness.max_ms, one.cpu_us,
                            one.store_cpu_us, one.bytes_per_reply, one.bytes_per_conversation)),
                    ]
                    for one in found
                ],
            ),
            "",
            "Front halves of turns of those conversations, each with a reply pending; the client's 100 messages",
            "are met for the first time, and part from what is known:",
            "",
            *report.table(
                ["conversations", "gateway µs", "store µs"],
                [
                    [f"{one.conversations:,}", f"{one.front_half.subject_us:,.0f}", f"{one.front_half.store_us:,.0f}"]
                    for one in found
                ],
            ),
        ],
    )  # fmt: skip


async def measure(conversations: int, seconds: int) -> Backlog:
    """Write a backlog, let the gateway loose on it, and look."""
    due = PER_SECOND * seconds
    async with open_world() as world:
        recording = await _record(world)
        await world.flush()
        empty = await _used(world)
        took = await write(world, recording, _items(world, conversations, due))
        full = await _used(world)
        click.echo(f"wrote {conversations:,} conversations with a pending reply each in {took:.0f} s")
        await world.store.execute_command("CONFIG", "RESETSTAT")
        per_conversation = await _directory_bytes(world)
        begin = time.monotonic()
        subject = Gateway()
        async with subject.running(world) as process:
            assert subject.output is not None
            before, store_before = process.cpu_seconds(), world.store_process.cpu_seconds()
            late = await deliveries.wait(subject.output, due, _lead(due) + seconds + 60)
            click.echo(f"{len(late):,} deliveries after {time.monotonic() - begin:.0f} s")
            cpu, store_cpu = process.cpu_seconds() - before, world.store_process.cpu_seconds() - store_before
            template = requests.template(requests.complete(requests.history(100), webhook=world.webhook))
            half = await front_half.sample(world, subject, process, template, conversations, 5)
        return Backlog(
            conversations,
            deliveries.summary(late),
            cpu / due * 1e6,
            store_cpu / due * 1e6,
            (full - empty) / conversations - per_conversation,
            per_conversation,
            half,
        )


async def _record(world: World) -> Recording:
    """Lead one cold turn with a window far away through a gateway, and take down what it writes."""
    subject = Gateway()
    async with subject.running(world):
        pool = wire.Pool(subject.port)
        await pool.get("/readyz")
        listener = await Listener.open(world)
        world.recorder.requests.clear()
        delay = DELAY_MILLISECONDS / 1000
        request = requests.complete(requests.history(10), webhook=world.webhook, min_delay=delay, max_delay=delay)
        body = requests.filled(requests.template(request), user=0, number=0)
        taken = await pool.post("/v2/complete", body, CHECK_KEY)
        turn_id = json.loads(taken.body)["message_id"]
        [created] = [json.loads(body) for body in world.recorder.of("POST", "/api/conversations")]
        name = conversation(world, CHECK_KEY, 0)
        told = {
            "conversation_id": (await read_entry(world, name.directory))["id"],
            "message": {"id": "m-0", "text": "Hello! How are you today?", "from_bot": True, "sent_at": 1_700_000_000},
        }
        callback = await pool.post(created["webhook"].split(f":{subject.port}", 1)[1], json.dumps(told).encode())
        if (taken.status, callback.status) != (200, 200):
            raise RuntimeError(f"the turn to record failed: {taken}, {callback}")
        commands = await listener.close()
        pool.close()
    own = [command for command in commands if any(name.digest.encode() in word for word in command)]
    tenant = json.loads((await read_entry(world, name.directory))["meta"])[0]
    return Recording(
        tuple(own),
        name.digest.encode(),
        name.shard.prefix.encode(),
        turn_id.encode(),
        tenant.encode(),
        f"//{HOSTS[0]}:{world.v3_port}".encode(),
    )


def _lead(due: int) -> float:
    return due / WRITING_PER_SECOND + STARTING_SECONDS


def _items(world: World, conversations: int, due: int) -> Iterator[Item]:
    """Give the conversations of the load's users; the last `due` fall due one after the other, the rest in days."""
    first = 0.0
    for number in range(conversations):
        keys = conversation(world, requests.LOAD_KEY, number)
        delay = DAY_MILLISECONDS + number
        place = number - (conversations - due)
        if place >= 0:
            first = first or time.time() + _lead(due)
            delay = max(int((first + place / PER_SECOND - time.time()) * 1000), 0)
        host = HOSTS[number % len(HOSTS)]
        yield Item(keys.digest, keys.shard.prefix, delay, f"{number % TENANTS:016x}", f"//{host}:{world.v3_port}")


async def _used(world: World) -> int:
    return int((await world.store.info("memory"))["used_memory"])


async def _directory_bytes(world: World, sample: int = 200) -> float:
    """Give what the store takes for a known conversation's directory entry, with its place in the table of keys."""
    total = 0
    for number in range(sample):
        total += await world.store.memory_usage(conversation(world, requests.LOAD_KEY, number).directory, samples=0)
    return total / sample
