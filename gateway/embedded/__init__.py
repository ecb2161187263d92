"""The embedded store: a Valkey server of the gateway's own, for whoever names no Redis URL.

It is a real server with an append-only file in a private directory, reachable on a unix socket only. Gateways over
one data directory share it, and file locks say who does what:

- `owner.lock` is held by one gateway: it starts the server, starts it again when it ends, stops it at its own end.
  The others wait for that lock in the background; whoever gets it next is the next owner.
- `server.lock` is held by the server itself, as an open file that it inherits. It is free exactly when no server
  lives, so that no two servers ever write one append-only file, however their starters died.
- `users.lock` is shared by all; its owner can have it alone once the others have left.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from gateway.embedded import engine, places
from gateway.embedded.keeper import Keeper
from gateway.embedded.places import EmbeddedStoreError

__all__ = ["EmbeddedStoreError", "start"]

PATIENCE_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.002


@contextlib.asynccontextmanager
async def start(data_dir: Path, *, server: str | None = None, linger_seconds: float = 5.0) -> AsyncIterator[str]:
    """Give the URL of the store under `data_dir`, for as long as the context is open.

    The data of earlier runs is there. `server` names another server binary, by path or by a name on PATH. The URL
    stays valid when the owner or the server dies: calls fail for the fraction of a second that the restart takes.
    The owner leaves last: at its end it gives the others up to `linger_seconds` to finish with the store.

    Enter it on the thread that will live as long as the process: on Linux the server ends with the thread that
    started it, even at SIGKILL. Elsewhere a killed owner leaves its server running, and the next gateway adopts it.

    Raises EmbeddedStoreError when the store does not come up: within 10 s, or longer while it says that it loads.
    """
    binary = engine.find(server)
    directory = places.private_directory(data_dir)
    with places.short_path_to(directory) as reachable, places.Lock(directory / "users.lock") as users:
        await users.share()
        socket_path = reachable / places.SOCKET_NAME
        keeper = Keeper(binary, directory, socket_path)
        keeping = asyncio.create_task(keeper.keep(), name="embedded-store")
        try:
            await _first_answer(socket_path, keeping)
            keeper.was_ready = True
            yield f"unix://{quote(str(socket_path))}?db=0"
            if keeper.owns:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(users.acquire(), linger_seconds)
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])


async def _first_answer(socket_path: Path, keeping: asyncio.Task[NoReturn]) -> None:
    """Wait until the store takes commands, whoever started it."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + PATIENCE_SECONDS
    pause = FIRST_PAUSE_SECONDS
    while not keeping.done():
        answer = await engine.ask(socket_path, "PING")
        if answer == engine.PONG:
            return
        if answer is not None and answer.startswith(engine.LOADING):
            deadline = clock() + PATIENCE_SECONDS
        elif clock() > deadline:
            said = "nobody listens" if answer is None else f"its answer is {answer!r}"
            raise EmbeddedStoreError(
                f"the store at {socket_path} has taken no command for {PATIENCE_SECONDS} s ({said}): see "
                f"{places.LOG_NAME} beside it, end a server that hangs there, or give the URL of a Redis"
            )
        await asyncio.sleep(pause)
        pause = min(1.2 * pause, places.POLL_SECONDS)
    keeping.result()
