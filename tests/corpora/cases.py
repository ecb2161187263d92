"""Texts and JSON that have broken programs before: a few of our own, and all of `../shared/corpora` where it is there.

The folder beside the checkout may hold, at any depth: lists of naughty strings (`.json`: a list of texts, in base64
where the file's name says so; `.txt`: one a line, `#` begins a comment), and cases for JSON parsers (`y_*.json` must be
read, `n_*.json` must be refused, `i_*.json` is the parser's to decide).
"""

# ruff: noqa: RUF001 — characters that look like others are what this is about

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[3] / "shared" / "corpora"
ABSENT: Final = "there is no ../shared/corpora beside this checkout"

TEXTS: Final[Mapping[str, str]] = {
    "blank": " \t\n",
    "line breaks of all kinds": "a\nb\r\nc\rd\u0085e\u2028f\u2029g\vh\fi",
    "an emoji of several": "\U0001f469\U0001f3fd\u200d\u2764\ufe0f\u200d\U0001f468 🏳\ufe0f\u200d🌈 🇪🇸 1\ufe0f\u20e3",
    "beyond the basic plane": "𝕳𝖔𝖑𝖆 𠜎𠜱𠝹 \U0010fffd",
    "composed": "caf\u00e9 \u00c5 \u1e69",
    "decomposed": "cafe\u0301 A\u030a s\u0323\u0307",
    "other forms of the same": "\u212b \u2126 \ufb01 \u00bd \uff21 \u2460 \u3392",
    "stacked marks": "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349a" * 20,
    "right to left": "مرحبا שלום \u200f\u202eabc\u202c \u2067x\u2069",
    "invisible": "a\u200bb\u200cc\u200dd\ufeffe\u00adf\u2060g\U000e0041",
    "a mark of byte order first": "\ufeffhello",
    "NUL": "before\0after",
    "all control characters": "".join(map(chr, range(32))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "no characters": "\ufffe \uffff \U0001ffff \ufdd0",
    "private": "\ue000 \U000f0000",
    "a character for what cannot be read": "\ufffd",
    "scripts": "हिन्दी ไทย 한국어 ᚠᛇᚻ ⠠⠃ ꧁ ༀ",
    "dotless": "İIıi ǅ ß ẞ ſ",
    "quotes and slashes": '"\\\'`\\\\\\" \\u0041 \\n /* */ </script>',
    "markup": "<script>alert('x')</script><!-- <![CDATA[ &amp; &#0; &nbsp;",
    "a template": "{{7*7}} ${7*7} %s %d %n {0} {} #{x} $HOME `id` $(id)",
    "a query": "'; DROP TABLE users; -- \" OR 1=1",
    "commands of the store": "*1\r\n$8\r\nFLUSHALL\r\n",
    "a header": "x\r\nSet-Cookie: a=b\r\n\r\n",
    "words that are values": "null undefined NaN true [object Object] -0 1e309",
    "JSON": '{"text": "x", "from_bot": true}',
    "base64": "aGVsbG8=",
    "long": "á🐙 " * 33_334,
    "one long word": "x" * 100_000,
}

JSON: Final[Mapping[str, bytes]] = {
    "y_deep_but_bearable": b"[" * 100 + b"]" * 100,
    "y_empty_name": b'{"": 0}',
    "y_escaped_name": rb'{"\u0000\"\\": 1}',
    "y_same_name_twice": b'{"a": 1, "a": 2}',
    "y_pair_of_surrogates": rb'"\ud83d\udc19"',
    "y_no_character": rb'"\uffff\udbff\udfff"',
    "y_white_space": b" \r\n\t[ \t1 , 2 ] \n",
    "y_numbers": b"[0, -0, 1E2, 1e-2, 0.1e+1, -1.5, 123456789012345678]",
    "y_delete": b'"\x7f"',
    "n_nothing": b"",
    "n_comma_first": b"[,1]",
    "n_comma_last": b"[1,]",
    "n_no_comma": b"[1 2]",
    "n_no_colon": b'{"a" 1}',
    "n_no_quotes": b"{a: 1}",
    "n_number_as_name": b"{1: 1}",
    "n_plus": b"[+1]",
    "n_leading_zero": b"[-012]",
    "n_no_digits_behind_the_point": b"[1.]",
    "n_no_digits_before_the_point": b"[.1]",
    "n_no_exponent": b"[1e]",
    "n_hexadecimal": b"[0x1]",
    "n_nan": b"[nan]",
    "n_infinity": b"[-Infinity]",
    "n_upper_case": b"[True]",
    "n_fullwidth_digit": "[\uff11]".encode(),
    "n_escape_x": rb'"\x00"',
    "n_escape_cut_off": rb'"\u00A"',
    "n_tab": b'"\t"',
    "n_invalid_utf_8": b'"\xe5"',
    "n_no_break_space": b"[\xc2\xa0]",
    "n_closed_twice": b"[1]]",
    "n_never_closed": b"[" * 100_000,
    "n_objects_never_closed": b'[{"":' * 50_000,
    "i_lone_surrogate": rb'"\udada"',
    "i_surrogates_in_the_wrong_order": rb'"\udd1e\ud834"',
    "i_huge_number": b"[1.5e+9999]",
    "i_tiny_number": b"[1e-9999]",
    "i_huge_integer": b"[" + b"9" * 5_000 + b"]",
    "i_deep": b"[" * 500 + b"]" * 500,
    "i_utf_16": '["é"]'.encode("utf-16"),
}


def shared_texts() -> Iterator[str]:
    """Give the naughty strings of the folder, each once."""
    seen: dict[str, None] = {}
    for file in _files():
        if file.suffix == ".json" and not _is_json_case(file):
            listed = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(listed, list) and all(isinstance(text, str) for text in listed):
                decode = "base64" in file.name
                seen |= dict.fromkeys(base64.b64decode(text).decode() if decode else text for text in listed)
        elif file.suffix == ".txt" and "base64" not in file.name:
            lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
            seen |= dict.fromkeys(line for line in lines if not line.startswith("#"))
    yield from seen


def shared_json() -> Iterator[tuple[str, bytes]]:
    """Give the JSON parsing cases of the folder."""
    for file in _files():
        if _is_json_case(file):
            yield file.stem, file.read_bytes()


def _files() -> list[Path]:
    return sorted(file for file in FOLDER.rglob("*") if file.is_file())


def _is_json_case(file: Path) -> bool:
    return file.suffix == ".json" and file.name[:2] in {"y_", "n_", "i_"}
