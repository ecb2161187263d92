"""Messages as numbers of 24 bits, by which two sides are compared without holding each other's texts.

One bit tells the speaker, the others name the text, blind to Unicode form and white space, which clients and upstreams
change on the way:

- Of a user's message they are the CRC of the text. An edit goes unseen once in 8 million.
- Of a bot's message they are the sum of the CRCs of its words, so that a reply whose segments a client has joined (by
  newlines or blanks) has the sum of their codes. The price: the order of words does not show, which nobody edits in
  a bot's message; and an unknown message passes for some row of the 8 or so replies in a tail once in 200,000.

They are no secrets and no proofs: whoever forges one misleads the gateway about his own conversation only.

A client sends the end of its history with every turn, so that most texts were met before: their codes are remembered.
The 16 of a turn take 3 to 4 µs so, and 22 otherwise.
"""

import binascii
import struct
import unicodedata
import zlib
from collections.abc import Callable, Sequence

FROM_BOT = 1 << 23
TEXT = FROM_BOT - 1

MAX_REMEMBERED = 32_768
"""Codes in one of the memory's two halves, which takes 3.5 MB: of the last turns of 2,000 conversations or more."""


class Memory:
    """The codes of texts that were met of late, in bounded space and without the texts.

    A text is known by Python's own hash of it: 64 bits under a secret of the process. There are two halves. When the
    newer one is full, the older one is forgotten, so that whatever is met again in time stays.
    """

    __slots__ = ("_compute", "_most", "_newer", "_older")

    def __init__(self, compute: Callable[[bool, str], int], most: int = MAX_REMEMBERED) -> None:
        self._compute = compute
        self._most = most
        self._newer: dict[int, int] = {}
        self._older: dict[int, int] = {}

    def code(self, from_bot: bool, text: str) -> int:  # noqa: FBT001 — a message's parts
        """Give a message's code."""
        name = ~hash(text) if from_bot else hash(text)
        code = self._newer.get(name)
        if code is None:
            code = self._older.get(name)
            if code is None:
                code = self._compute(from_bot, text)
            if len(self._newer) >= self._most:
                self._older, self._newer = self._newer, {}
            self._newer[name] = code
        return code


def compute(from_bot: bool, text: str) -> int:  # noqa: FBT001 — a message's parts
    """Find a message's code from its text."""
    if text.isascii() and text.isprintable():  # blanks are its only white space: the same in two thirds of the time
        raw = text.encode()
        if from_bot:
            return FROM_BOT | sum(map(zlib.crc32, raw.split())) & TEXT
        if b"  " not in raw:
            return zlib.crc32(raw.strip()) & TEXT
    normal = text if text.isascii() else unicodedata.normalize("NFC", text)
    words = " ".join(normal.split()).encode(errors="surrogatepass")
    if from_bot:
        return FROM_BOT | sum(map(zlib.crc32, words.split(b" "))) & TEXT
    return zlib.crc32(words) & TEXT


of = Memory(compute).code
"""Give a message's code, by its speaker and its text."""


def write(code: int) -> str:
    """Give the digest of a code: four characters of base64. A user's begins with A to Z or a to f, no bot's does."""
    return binascii.b2a_base64(code.to_bytes(3, "big"), newline=False).decode()


def read(digests: str) -> Sequence[int]:
    """Give the codes of digests that stand one after the other; they must be whole.

    A message without words, which earlier versions took note of, has none.
    """
    raw = binascii.a2b_base64(digests)
    padded = bytearray(len(raw) // 3 * 4)  # so that all are read in one go, in half the time
    padded[1::4], padded[2::4], padded[3::4] = raw[0::3], raw[1::3], raw[2::3]
    codes = struct.unpack(f">{len(padded) // 4}I", padded)
    if 0 in codes or FROM_BOT in codes:
        return [code for code in codes if code & TEXT]
    return codes
