"""A sandbox on a real socket, one for each module, emptied before each test."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

import httpx
import pytest

from gateway.sandbox import SandboxSettings, serve
from gateway.sandbox.driver import Driver

BOT = "88d86507-8d6c-4fad-b6f6-15d4fd377c83"


class Create(Protocol):
    """Creates a conversation and gives its id."""

    async def __call__(self, user_id: str = "max", **fields: Any) -> str: ...


@pytest.fixture(scope="module")
async def base_url() -> AsyncIterator[str]:
    """Serve a fast sandbox."""
    async with serve(SandboxSettings().fast()) as base_url:
        yield base_url


@pytest.fixture
async def http(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client without a key, for pages, inbox and pictures."""
    async with httpx.AsyncClient(base_url=base_url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
async def sandbox(http: httpx.AsyncClient) -> Driver:
    """Give the control surface of an empty sandbox."""
    driver = Driver(http)
    await driver.reset()
    return driver


@pytest.fixture
async def api(base_url: str, sandbox: Driver) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the API with a key."""
    headers = {"authorization": "Bearer key-one"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def bot_id() -> str:
    """Give the id of the bot that `create` uses."""
    return BOT


@pytest.fixture
def create(api: httpx.AsyncClient) -> Create:
    """Give a function that makes a conversation, with its user if need be."""

    async def make(user_id: str = "max", **fields: Any) -> str:
        body = {"bot_id": BOT, "user_id": user_id, "create_user_if_not_exists": True} | fields
        answer = await api.post("/api/conversations", json=body)
        assert answer.status_code == 200, answer.text
        conversation_id: str = answer.json()["conversation"]["id"]
        return conversation_id

    return make
