"""Messages as numbers of 24 bits, by which two sides are compared without holding each other's texts.

A message's **code** is the number, its **digest** the same in four characters of base64.

One bit tells the speaker, the others name the text, blind to Unicode form and white space, which clients and upstreams
change on the way:

- Of a user's message they are the CRC of the text. An edit goes unseen once in 8 million.
- Of a bot's message they are the sum of the CRCs of its words, so that a reply whose segments a client has joined (by
  newlines or blanks) has the sum of their codes. The price: the order of words does not show, which nobody edits in
  a bot's message; and an unknown message passes for some row of the 8 or so replies in a tail once in 200,000.

They are no secrets and no proofs: whoever forges one misleads the gateway about his own conversation only.

A client sends the end of its history with every turn, so that most texts were met before: their digests are
remembered. The 16 of a turn take 3 µs so; computed they take 20, and 30 with the vain search and the remembering.
"""

import binascii
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Sequence

FROM_BOT = 1 << 23
TEXT = FROM_BOT - 1

MAX_REMEMBERED = 32_768
"""Digests in one of the memory's two halves, which takes 4 MB: the ends of 2,000 conversations or more."""


class Memory:
    """The digests of texts that were met of late, in bounded space and without the texts.

    A text is known by Python's own hash of it: 64 bits under a secret of the process. There are two halves. When the
    newer one is full, the older one is forgotten, so that whatever is met again in time stays.
    """

    __slots__ = ("_compute", "_most", "_newer", "_older")

    def __init__(self, compute: Callable[[bool, str], int], most: int = MAX_REMEMBERED) -> None:
        self._compute = compute
        self._most = most
        self._newer: dict[int, str] = {}
        self._older: dict[int, str] = {}

    def digests(self, messages: Iterable[tuple[bool, str]]) -> list[str]:
        """Give the digests of messages, each of them its speaker and its text."""
        found = []
        newer = self._newer
        for from_bot, text in messages:
            name = ~hash(text) if from_bot else hash(text)
            digest = newer.get(name)
            if digest is None:
                digest = self._older.get(name) or write(self._compute(from_bot, text))
                if len(newer) >= self._most:
                    self._older, self._newer = newer, {}
                    newer = self._newer
                newer[name] = digest
            found.append(digest)
        return found


def of(from_bot: bool, text: str) -> int:  # noqa: FBT001 — a message's parts
    """Give a message's code, by its speaker and its text."""
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


digests = Memory(of).digests
"""Give the digests of messages, each of them its speaker and its text."""


def write(code: int) -> str:
    """Give the digest of a code. A user's begins with one of A to Z or a to f, a bot's with another character."""
    return binascii.b2a_base64(code.to_bytes(3, "big"), newline=False).decode()


def read(digests: str) -> Sequence[int]:
    """Give the codes of digests that stand one after the other."""
    raw = binascii.a2b_base64(digests)
    return [int.from_bytes(raw[at : at + 3], "big") for at in range(0, len(raw), 3)]
