"""One gateway for all cases, which differ in their users."""

from collections.abc import AsyncIterator

import pytest

from tests.flows.conftest import World, running_world


@pytest.fixture(scope="module")
async def world(store_url: str) -> AsyncIterator[World]:
    async with running_world(store_url, settle_seconds=0) as running:
        yield running
