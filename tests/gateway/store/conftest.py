"""Fixtures of the store's tests: real servers that a test may break."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import store_servers


@pytest.fixture
async def server() -> AsyncIterator[store_servers.Server]:
    """Run a server of the test's own."""
    with tempfile.TemporaryDirectory(prefix="gs-") as directory:
        async with store_servers.running_server(Path(directory)) as running:
            yield running


@pytest.fixture(scope="session")
async def running_cluster(anyio_backend: object) -> AsyncIterator[store_servers.Cluster]:
    """Run a cluster of three for all tests that leave it as it was."""
    with tempfile.TemporaryDirectory(prefix="gc-") as directory:
        async with store_servers.running_cluster(Path(directory)) as running:
            yield running


@pytest.fixture
async def cluster(running_cluster: store_servers.Cluster) -> AsyncIterator[store_servers.Cluster]:
    """Give the cluster, empty."""
    yield running_cluster
    for master in running_cluster.masters:
        await master.client.flushall()
        await master.client.script_flush()
