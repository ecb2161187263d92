"""What grows is told from what stays, and from what only trembles."""

import xml.etree.ElementTree as ET

import pytest

from tests.chaos.growth import LIMITS, Sample, growth, percentile, plot


def samples(memory: list[float], minutes: float = 60) -> list[Sample]:
    step = minutes / len(memory)
    return [
        Sample(
            minute=index * step,
            requests=index,
            memory_mib=value,
            descriptors=30,
            store_keys=500,
            store_mib=3,
            late_p50_ms=2,
            late_p99_ms=20,
        )
        for index, value in enumerate(memory)
    ]


def test_a_leak_is_beyond_the_limit() -> None:
    leaking = samples([60 + index * 0.2 for index in range(200)])
    assert growth(leaking, "memory_mib") > LIMITS["memory_mib"].allowed(leaking)


def test_what_fills_up_at_first_and_then_stays_is_flat() -> None:
    filling = samples([60 + min(index, 60) * 0.5 for index in range(200)])
    assert growth(filling, "memory_mib") <= LIMITS["memory_mib"].allowed(filling)


def test_what_trembles_is_flat() -> None:
    trembling = samples([60 + (index % 7) for index in range(200)])
    assert abs(growth(trembling, "memory_mib")) < 1


def test_a_short_run_is_allowed_its_noise() -> None:
    short = samples([60 + index * 0.01 for index in range(60)], minutes=3)
    assert growth(short, "memory_mib") <= LIMITS["memory_mib"].allowed(short)


def test_one_sample_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="too few"):
        growth(samples([1.0]), "memory_mib")


def test_percentiles_are_values_that_were_there() -> None:
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile([3, 1, 2], 0.99) == 3
    assert percentile([], 0.5) == 0


def test_the_plot_has_a_line_for_each_measured_thing() -> None:
    drawing = ET.fromstring(plot(samples([1.0, 2.0, 3.0])))
    assert len(drawing.findall("{http://www.w3.org/2000/svg}polyline")) == len(Sample._fields) - 2
