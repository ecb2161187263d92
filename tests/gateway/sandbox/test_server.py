"""Serving: inside a running loop, and as a process."""

import asyncio
import logging
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from gateway.sandbox import SandboxSettings, create_app, serve
from gateway.sandbox.driver import Driver

RUN = """
from gateway.sandbox import run
run("127.0.0.1", 0, ready=lambda url: print(url, flush=True))
"""


def others() -> set["asyncio.Task[object]"]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_leaving_ends_everything_also_long_polls_and_hanging_calls() -> None:
    before = others()
    settings = SandboxSettings()
    async with serve(settings) as base_url, httpx.AsyncClient(base_url=base_url, timeout=30, trust_env=False) as http:
        http.headers["authorization"] = "Bearer key"
        hang = {"path": "/api/bots", "action": "hang", "seconds": 3600}
        await http.put("/sandbox/faults", json={"rules": [hang]})
        body = {
            "message": {"text": "Hola", "from_bot": False},
            "conversation_creation_params": {
                "bot_id": "88d86507-8d6c-4fad-b6f6-15d4fd377c83",
                "user_id": "max",
                "create_user_if_not_exists": True,
            },
        }
        await http.post("/api/messages", json=body)
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        held = [
            asyncio.create_task(http.get("/inbox/wait", params={"timeout": 60})),
            asyncio.create_task(http.get("/api/bots")),
        ]
        await Driver(http).calls(1, path="/api/bots", finished=False)
        assert not any(task.done() for task in held)
    await asyncio.gather(*held, return_exceptions=True)
    assert others() == before
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(httpx.ConnectError):
        await httpx.AsyncClient(trust_env=False).get(base_url)


async def test_two_sandboxes_know_nothing_of_each_other() -> None:
    async with serve() as one, serve() as two, httpx.AsyncClient(trust_env=False) as http:
        assert one != two
        await http.post(f"{one}/inbox/a")
        assert (await http.get(f"{two}/inbox.json")).json()["deliveries"] == []


async def test_an_error_inside_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with serve():
            raise KeyError("mine")


async def test_a_taken_port_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        async with serve(port=taken.getsockname()[1]):
            pass


async def test_ipv6_is_served_too() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    async with serve(host="::1") as base_url, httpx.AsyncClient(trust_env=False) as http:
        assert base_url.startswith("http://[::1]:")
        assert (await http.get(f"{base_url}/livez")).status_code == 200


async def test_pictures_and_pages_name_the_public_url() -> None:
    settings = SandboxSettings(public_url="http://sandbox.example:9000/")
    async with serve(settings) as base_url, httpx.AsyncClient(base_url=base_url, trust_env=False) as http:
        body = {"image_url": "data:image/png;base64,iVBORw0KGgo=", "bot_id": "88d86507-8d6c-4fad-b6f6-15d4fd377c83"}
        answer = await http.post("/api/content", json=body, headers={"authorization": "Bearer key"})
        assert answer.json()["content"]["url"].startswith("http://sandbox.example:9000/pictures/")
        assert "http://sandbox.example:9000/inbox/any/path" in (await http.get("/")).text


async def test_the_application_also_runs_without_its_server() -> None:
    transport = httpx.ASGITransport(create_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as http:
        assert (await http.get("/livez")).text == "ok\n"


async def test_a_process_serves_until_it_is_told_to_stop() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", RUN, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    base_url = (await process.stdout.readline()).decode().strip()
    async with httpx.AsyncClient(base_url=base_url, timeout=30, trust_env=False) as http:
        http.headers["authorization"] = "Bearer key"
        await http.put("/sandbox/faults", json={"rules": [{"path": "/api/bots", "action": "hang"}]})
        hanging = asyncio.create_task(http.get("/api/bots"))
        await Driver(http).calls(1, finished=False)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            _, errors = await process.communicate()
        await asyncio.gather(hanging, return_exceptions=True)
    assert (process.returncode, errors) == (0, b"")


async def test_a_client_that_leaves_in_the_middle_of_its_body_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as base_url, httpx.AsyncClient(base_url=base_url, timeout=30, trust_env=False) as http:
        head = "POST {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key\r\nContent-Length: 100\r\n\r\n{{"
        port = int(base_url.rpartition(":")[2])
        for path in ("/api/users", "/inbox/a"):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.format(path).encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        (call,) = await Driver(http).calls(1)
        assert call["body"] == "{"
        assert (await http.get("/inbox.json")).json()["deliveries"] == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
