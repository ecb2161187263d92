"""How many replies may wait, in all and of one tenant."""

import pytest
from relay_kit import TENANT, reply

from gateway import errors
from gateway.relay import gauges
from gateway.relay.pressure import Pressure
from gateway.relay.queue import Counts, Queue
from gateway.store import Store

OTHER = "ffff000011112222"


def test_a_tenant_whose_replies_wait_is_refused_and_others_are_not() -> None:
    pressure = Pressure(most=100, most_of_tenant=10)
    pressure.learn(Counts(8, 0, 0, {TENANT: 8}))
    pressure.take(TENANT)
    pressure.take(TENANT)
    with pytest.raises(errors.TooManyReplies) as caught:
        pressure.take(TENANT)
    assert (caught.value.status, caught.value.retry_after_seconds) == (429, 10)
    pressure.take(OTHER)


def test_all_are_refused_when_all_together_have_too_many() -> None:
    pressure = Pressure(most=10, most_of_tenant=10)
    pressure.learn(Counts(9, 0, 0, {TENANT: 5, "another": 4}))
    pressure.take(OTHER)
    with pytest.raises(errors.Overloaded) as caught:
        pressure.take(OTHER)
    assert (caught.value.status, caught.value.retry_after_seconds) == (503, 10)


def test_what_is_refused_does_not_count() -> None:
    pressure = Pressure(most=2, most_of_tenant=1)
    pressure.take(TENANT)
    for _ in range(5):
        with pytest.raises(errors.TooManyReplies):
            pressure.take(TENANT)
    pressure.take(OTHER)


async def test_a_sample_of_the_store_makes_room_or_takes_it(store: Store, queue: Queue) -> None:
    pressure = Pressure(most=9, most_of_tenant=1)
    pressure.take(TENANT)
    await gauges.sample(queue, pressure)
    with pytest.raises(errors.TooManyReplies):  # its reply may still come
        pressure.take(TENANT)
    await gauges.sample(queue, pressure)
    pressure.take(TENANT)
    await reply(store, queue, "waits")
    for _ in range(3):
        await gauges.sample(queue, pressure)
        with pytest.raises(errors.TooManyReplies):
            pressure.take(TENANT)
