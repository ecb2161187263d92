"""Where the embedded store keeps what it keeps: its private directory, its locks, its log, a path to its socket."""

import asyncio
import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

DIRECTORY_NAME = "store"
SOCKET_NAME = "store.sock"
LOG_NAME = "server.log"

LONGEST_SOCKET_PATH = 103
"""Bytes: sun_path holds 108 on Linux and 104 on macOS, with the closing NUL."""
LARGEST_LOG_BYTES = 1 << 20
POLL_SECONDS = 0.05


class EmbeddedStoreError(RuntimeError):
    """The embedded store cannot be had; the message says what is wrong and what the operator can do."""


def private_directory(data_dir: Path) -> Path:
    """Make the directory that only this user can enter. It lies inside `data_dir`, whose mode is not ours to set."""
    directory = data_dir.expanduser().resolve() / DIRECTORY_NAME
    try:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
    except OSError as error:
        raise EmbeddedStoreError(
            f"cannot keep the store in {directory}: {error.strerror}. Choose a data directory that this user may write"
        ) from error
    return directory


@contextlib.contextmanager
def short_path_to(directory: Path) -> Iterator[Path]:
    """Give a path under which the socket in `directory` can be reached: an alias when its own is too long.

    Each process has its own alias in a directory of its own, so that there is no name to agree on or to squat.
    """
    if _fits(directory):
        yield directory
        return
    # Not the temporary directory if it can be helped: cleaners take what lies there for days.
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    usable = runtime is not None and os.access(runtime, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="gateway-", dir=runtime if usable else None) as private:
        alias = Path(private, "d")
        if not _fits(alias):
            raise EmbeddedStoreError(
                f"{directory} and {alias} are both too long for a socket's path, which holds "
                f"{LONGEST_SOCKET_PATH} bytes: choose a shorter data directory"
            )
        alias.symlink_to(directory, target_is_directory=True)
        yield alias


def _fits(directory: Path) -> bool:
    return len(os.fsencode(directory / SOCKET_NAME)) <= LONGEST_SOCKET_PATH


def open_log(directory: Path) -> BinaryIO:
    """Open the server's log to append to, after setting a large one aside."""
    path = directory / LOG_NAME
    if path.exists() and path.stat().st_size > LARGEST_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def read_log(directory: Path, start: int) -> str:
    """Give the last lines that the server wrote since byte `start`, as one line."""
    with (directory / LOG_NAME).open("rb") as file:
        file.seek(start)
        lines = file.read(LARGEST_LOG_BYTES).decode(errors="replace").splitlines()
    return " | ".join(lines[-3:]) or "nothing"


class Lock:
    """One advisory lock on a file: ours until it is closed, or until every process that inherited it is gone."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        """Give the open file, for a child to inherit."""
        return self._fd

    def take(self) -> bool:
        """Try once; True when the lock is now ours alone."""
        return self._try(fcntl.LOCK_EX)

    async def acquire(self) -> None:
        """Wait until the lock is ours alone."""
        while not self._try(fcntl.LOCK_EX):  # noqa: ASYNC110 — a thread blocked in flock cannot be cancelled
            await asyncio.sleep(POLL_SECONDS)

    async def share(self) -> None:
        """Wait until nobody holds the lock alone, then hold it together with others."""
        while not self._try(fcntl.LOCK_SH):  # noqa: ASYNC110 — as above
            await asyncio.sleep(POLL_SECONDS)

    def _try(self, mode: int) -> bool:
        try:
            fcntl.flock(self._fd, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
