"""The table of fates as a Markdown page, so that nobody has to read code to learn what a V1 field comes to.

`mappings/PARITY.md` is this page. `python -m gateway.parity --check mappings/PARITY.md` tells whether it is up to
date, and `--write` brings it up to date.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from mappings import fates

TITLES: Mapping[fates.Upstream, str] = {"v3": "V3", "chatbotkit": "ChatBotKit"}

_HEAD = """\
# What becomes of each V1 field

Written by `python -m gateway.parity --write mappings/PARITY.md` from the table in `mappings/fates.py`: change it there.

- **exact**: the value arrives whole, in a field of the same meaning.
- **emulated**: the gateway itself does what V1 did with it.
- **approximated**: the upstream is told in other words, and may heed them less exactly than V1 did.
- **dropped**: it reaches nobody.

What is approximated or dropped is named to the client in the header `Translation-Losses`, and refused with a 400 if
the request says `Prefer: handling=strict`. A value that asks for nothing loses nothing. A field that is not in this
table is dropped by name, unless its value is null.

With the context mode `none`, for a V3 that has only the fields of the seed document, more is dropped: a column of its
own says what.
"""


def render() -> str:
    """Give the page."""
    return "\n".join([_HEAD, *_overview(), *(line for name in TITLES for line in _details(name))])


def _overview() -> Iterator[str]:
    columns = [
        TITLES[name] if mode == "full" else f"{TITLES[name]}, context mode `{mode}`"
        for name in TITLES
        for mode in _MODES[name]
    ]
    yield from _table_head("Field", "Field known from", "Asks for nothing", *columns)
    for row in fates.TABLE:
        kinds = [fates.fate_of(row, name, mode=mode).kind for name in TITLES for mode in _MODES[name]]
        yield _line(f"`{row.name}`", row.source, row.neutral.words, *kinds)
    yield ""


def _details(name: fates.Upstream) -> Iterator[str]:
    found = Counter(row.fates[name].kind for row in fates.TABLE)
    yield f"## {TITLES[name]}"
    yield ""
    yield f"{len(fates.TABLE)} fields: {', '.join(f'{count} {kind}' for kind, count in found.items())}."
    yield ""
    yield from _table_head("Field", "Fate", "Where it goes", "Why", "Known from")
    for row in fates.TABLE:
        fate = row.fates[name]
        yield _line(f"`{row.name}`", fate.kind, _target(fate.target), fate.reason, fate.source)
    yield ""


_MODES: Mapping[fates.Upstream, Sequence[fates.Mode]] = {"v3": ("full", "none"), "chatbotkit": ("full",)}
"""The seed document of ChatBotKit has all the fields that are used of it: nothing is to be left out."""


def _target(target: fates.Target) -> str:
    return f"`{target}`" if "." in target else target


def _table_head(*titles: str) -> Iterator[str]:
    yield _line(*titles)
    yield _line(*("---" for _ in titles))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
