"""Fixtures of the relay's tests."""

import pytest
from certificates import Authority, make_authority

from gateway.relay.queue import Queue
from gateway.store import Store


@pytest.fixture
def queue(store: Store) -> Queue:
    return Queue(store)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))
