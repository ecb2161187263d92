"""The results as people read them: sections of RESULTS.md, each replaced by its own scenario, and a plot."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"

_COLOURS = ("#c2185b", "#1976d2", "#388e3c", "#f57c00", "#5d4037", "#7b1fa2")
_FONT = 'font-family="sans-serif" font-size="13"'
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 820, 460, 70, 60


def write_section(name: str, lines: Sequence[str], file: Path = RESULTS) -> None:
    """Put lines between the marks of a section, in place of what was there; a section without marks is added."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    text = file.read_text(encoding="utf-8") if file.exists() else "# Results\n"
    block = "\n".join([begin, *lines, end])
    marked = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    text = marked.sub(lambda _: block, text) if marked.search(text) else f"{text.rstrip()}\n\n{block}\n"
    file.write_text(text, encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Give a Markdown table; all columns but the first hold numbers."""
    return [
        f"| {' | '.join(head)} |",
        f"| --- |{' ---: |' * (len(head) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def plot(file: Path, title: str, series: Mapping[str, Mapping[int, float]]) -> None:
    """Draw costs (µs) over history lengths, both logarithmic; a history of nothing stands where 1 would."""
    across = sorted({length for one in series.values() for length in one})
    costs = [cost for one in series.values() for cost in one.values()]
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    span = max(math.log10(max(across[-1], 1)), 1)

    def x(length: int) -> float:
        return _LEFT + math.log10(max(length, 1)) / span * (_WIDTH - _LEFT - 30)

    def y(cost: float) -> float:
        return _HEIGHT - _BOTTOM - (math.log10(cost) - low) / (high - low) * (_HEIGHT - _BOTTOM - 40)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT + 24 * len(series)}" {_FONT}>',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="16">{title}</text>',
    ]
    for power in range(low, high + 1):
        at = y(10**power)
        parts.append(f'<line x1="{_LEFT}" y1="{at:.1f}" x2="{_WIDTH - 30}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{10**power:,} µs</text>')
    parts.extend(
        f'<text x="{x(length):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{length:,}</text>'
        for length in across
    )
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 18}" text-anchor="middle">messages of history</text>')
    for index, (name, values) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        points = " ".join(f"{x(length):.1f},{y(cost):.1f}" for length, cost in sorted(values.items()))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts.extend(
            f'<circle cx="{x(length):.1f}" cy="{y(cost):.1f}" r="4" fill="{colour}"/>'
            for length, cost in values.items()
        )
        at = _HEIGHT + 24 * index + 6
        parts.append(f'<rect x="{_LEFT}" y="{at - 10}" width="18" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 26}" y="{at}">{name.replace("*", "")}</text>')
    file.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
