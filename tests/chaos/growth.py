"""Whether a measured thing grows: the slope behind the warm-up, its limits, and a plot of all of them."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

WARM_UP = 0.4
"""The share of the samples that is not judged: caches, pools and the allocator's arenas fill in it."""

WIDTH, HEIGHT, MARGIN = 760, 130, 44


class Sample(NamedTuple):
    """What was measured at one moment; of several processes, the one that has the most."""

    minute: float
    requests: int
    memory_mib: float
    descriptors: int
    store_keys: int
    store_mib: float
    late_p50_ms: float
    late_p99_ms: float


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a thing may grow behind the warm-up: so much in any case, which is noise, and so much per hour."""

    noise: float
    per_hour: float

    def allowed(self, samples: Sequence[Sample]) -> float:
        """Give how much is allowed over the judged part of these samples."""
        judged = _judged(samples)
        return max(self.noise, self.per_hour * (judged[-1].minute - judged[0].minute) / 60)


LIMITS = {
    "memory_mib": Limit(noise=6, per_hour=8),
    "descriptors": Limit(noise=8, per_hour=4),
    "store_keys": Limit(noise=60, per_hour=60),
    # Each conversation remembers up to 256 message ids, which takes its first hundred turns.
    "store_mib": Limit(noise=3, per_hour=3),
    "late_p50_ms": Limit(noise=20, per_hour=20),
}


def growth(samples: Sequence[Sample], name: str) -> float:
    """Give by how much the fitted line rises over the judged part."""
    judged = _judged(samples)
    if len(judged) < 2:
        raise ValueError("too few samples to be judged")
    minutes = [one.minute for one in judged]
    slope = statistics.linear_regression(minutes, [float(getattr(one, name)) for one in judged]).slope
    return slope * (minutes[-1] - minutes[0])


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below which a share of the values lies; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(math.floor(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def plot(samples: Sequence[Sample]) -> str:
    """Draw every measured thing over time, one below the other, as SVG."""
    names = Sample._fields[2:]
    minutes = [one.minute for one in samples]
    parts = [
        _panel(name, minutes, [float(getattr(one, name)) for one in samples], row) for row, name in enumerate(names)
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT * len(names)}"'
    return f'{head} font-family="sans-serif" font-size="11">{"".join(parts)}</svg>\n'


def _panel(name: str, minutes: Sequence[float], values: Sequence[float], row: int) -> str:
    left, right = MARGIN, WIDTH - MARGIN
    top, bottom = row * HEIGHT + 22, (row + 1) * HEIGHT - 16
    highest = max(values) * 1.1 or 1.0
    across = (right - left) / (minutes[-1] or 1.0)
    points = " ".join(
        f"{left + minute * across:.1f},{bottom - value / highest * (bottom - top):.1f}"
        for minute, value in zip(minutes, values, strict=True)
    )
    return (
        f'<text x="{left}" y="{top - 8}">{escape(name)}, at most {max(values):g}, in the end {values[-1]:g}</text>'
        f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#999"/>'
        f'<text x="{left - 4}" y="{top + 8}" text-anchor="end">{highest:.0f}</text>'
        f'<text x="{right}" y="{bottom + 12}" text-anchor="end">{minutes[-1]:g} min</text>'
        f'<polyline points="{points}" fill="none" stroke="#2563eb"/>'
    )


def _judged(samples: Sequence[Sample]) -> Sequence[Sample]:
    return samples[math.floor(WARM_UP * len(samples)) :]
