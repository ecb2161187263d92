"""Fixtures of the relay's tests."""

import pytest

from gateway.relay.queue import Queue
from gateway.store import Store


@pytest.fixture
def queue(store: Store) -> Queue:
    return Queue(store)
