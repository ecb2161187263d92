"""Fixtures that every test may use."""

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import keys_check
import pytest

from gateway import embedded, store

if "CI" not in os.environ:  # there, Hypothesis itself chooses its profile "ci": derandomized, without a deadline
    hypothesis.settings.register_profile("local", deadline=None)
    hypothesis.settings.load_profile("local")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run every async test on the loop that production runs on."""
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture(scope="session")
async def store_url(anyio_backend: object) -> AsyncIterator[str]:
    """Run a real store for the session; tests that want it empty ask for `store`."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as directory:
        async with embedded.start(Path(directory), linger_seconds=0) as url:
            yield url


@pytest.fixture(name="store")
async def empty_store(store_url: str) -> AsyncIterator[store.Store]:
    """Give an empty store, and hold whatever the test leaves in it against the declared keys."""
    async with store.connect(store_url) as opened:
        await opened.redis.flushall()
        yield opened
        assert await keys_check.undeclared(opened) == []
        await opened.redis.flushall()
