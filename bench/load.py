"""The load: closed loops by wrk, or by a raw asyncio client where there is none; an open loop at a set rate."""

import asyncio
import json
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench import requests, wire
from bench.machine import OTHER_CORE

CONNECTIONS = 32

_SCRIPT = Path(__file__).with_name("turns.lua")


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the load did and saw; `failures` are answers of 400 and more, and broken connections."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failures: int


def is_wrk() -> bool:
    """Tell whether wrk makes the closed loops."""
    return shutil.which("wrk") is not None


async def closed(
    port: int, template: bytes, *, users: int, seconds: int, first: int, directory: Path, connections: int = CONNECTIONS
) -> Run:
    """Keep every connection busy for so long with the template's requests, numbered from `first`."""
    if not is_wrk():
        return await _closed_by_asyncio(port, template, users, seconds, first, connections)
    file = directory / "template.json"
    file.write_bytes(template)
    arguments = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    process = await asyncio.create_subprocess_exec(
        *("taskset", "-c", str(OTHER_CORE), "wrk", *arguments, "-s", str(_SCRIPT), f"http://127.0.0.1:{port}"),
        *("--", str(file), requests.LOAD_KEY, str(users), str(first)),
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    line = next(line for line in told.decode().splitlines() if line.startswith("RESULT "))
    return Run(**json.loads(line.removeprefix("RESULT ")))


async def open_loop(rate: float, seconds: float, act: Callable[[int], Awaitable[int]]) -> Run:
    """Begin `rate` acts a second, whatever becomes of them; latency counts from when an act should have begun.

    An act is given its number and gives the status of its answer.
    """
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    statuses: list[int] = []

    async def one(number: int, due: float) -> None:
        statuses.append(await act(number))
        latencies.append(loop.time() - due)

    began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            tasks.create_task(one(number, due))
    return _run(latencies, statuses, loop.time() - began)


async def _closed_by_asyncio(port: int, template: bytes, users: int, seconds: int, first: int, connections: int) -> Run:
    pool = wire.Pool(port)
    latencies: list[float] = []
    statuses: list[int] = []
    number = first
    end = time.perf_counter() + seconds

    async def loop() -> None:
        nonlocal number
        while (begin := time.perf_counter()) < end:
            number += 1
            body = requests.filled(template, user=number % users, number=number)
            statuses.append((await pool.post("/v2/complete", body, requests.LOAD_KEY)).status)
            latencies.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(connections)))
    pool.close()
    return _run(latencies, statuses, time.perf_counter() - begin)


def _run(latencies: list[float], statuses: list[int], seconds: float) -> Run:
    cuts = statistics.quantiles(latencies, n=100)
    failures = sum(status >= 400 for status in statuses)
    return Run(len(latencies), seconds, cuts[49] * 1000, cuts[98] * 1000, failures)
