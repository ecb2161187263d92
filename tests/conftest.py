"""Fixtures that every test may use."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run every async test on the loop that production runs on."""
    return ("asyncio", {"use_uvloop": True})
