"""Fixtures of the command line's tests."""

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import Result

from gateway.settings import PREFIX
from gateway.store import Store
from tests.gateway.cli import cli_kit

V3_URL = "https://v3.example"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave of the gateway's settings none, and no `.env` to find."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def on_store(store: Store, store_url: str) -> Callable[..., Awaitable[Result]]:
    """Call the command on the tests' store; it runs a loop of its own, so that it needs a thread."""
    environment = {"GATEWAY_REDIS_URL": store_url, "GATEWAY_SECRET": cli_kit.SECRET, "GATEWAY_V3_URL": V3_URL}

    async def call(*arguments: str, typed: str | None = None) -> Result:
        return await asyncio.to_thread(functools.partial(cli_kit.gateway, *arguments, typed=typed, **environment))

    return call
