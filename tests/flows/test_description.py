"""What the gateway says of itself at /openapi.json is what it does."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from starlette.routing import Route

from gateway import app, auth, sandbox, server
from gateway.sandbox.v3.pictures import png
from tests.flows.conftest import KEY, SECRET, gateway_settings
from tests.free_ports import free_port

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SECONDS = 300


@contextlib.asynccontextmanager
async def running(store_url: str) -> AsyncIterator[tuple[str, set[tuple[str, str]]]]:
    """Run a gateway that delivers nothing, since webhooks are made up here; give its URL and its routes."""
    port = free_port()
    wishes = sandbox.SandboxSettings(any_bot_id=True, keys=frozenset({KEY})).fast()
    async with sandbox.serve(wishes) as sandbox_url:
        application = app.create_app(gateway_settings(sandbox_url, store_url, port, relay=False))
        async with server.running(application, port=port) as url:
            routes = [route for route in application.app.router.routes if isinstance(route, Route)]
            yield url, {(route.path, method) for route in routes for method in route.methods or () if method != "HEAD"}


async def test_every_route_is_described_and_every_description_is_of_a_route(store_url: str) -> None:
    async with running(store_url) as (url, routes), httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    paths = answer.json()["paths"]
    assert {(path, method.upper()) for path, item in paths.items() for method in item} == routes


async def test_generated_requests_find_nothing_that_the_description_does_not_say(
    store_url: str, tmp_path: Path
) -> None:
    is_ci = "CI" in os.environ
    async with running(store_url) as (url, _), httpx.AsyncClient(trust_env=False) as client:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "image/png"}
        kept = await client.post(f"{url}/v2/user_content", content=png("kept"), headers=headers)
        tokens = {
            "CONTENT_TOKEN": auth.Tokens([SECRET.encode()], b"content").sign(kept.json()["id"]),
            "CALLBACK_TOKEN": auth.Tokens([SECRET.encode()]).sign("0" * 32),
        }
        run = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIGURATION), "--no-color"),
            *("run", f"{url}/openapi.json", *(("--generation-deterministic",) if is_ci else ())),
            env=os.environ | tokens,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(SECONDS):
                said, _ = await run.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                run.kill()
    assert run.returncode == 0, said.decode()
