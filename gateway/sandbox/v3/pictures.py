"""Pictures that the emulated bots send."""

import hashlib
import struct
import zlib

_SIDE = 48


def png(seed: str) -> bytes:
    """Return a small picture of one colour, the same for the same seed."""
    colour = hashlib.sha256(seed.encode()).digest()[:3]
    rows = (b"\0" + colour * _SIDE) * _SIDE  # each row begins with its filter, none
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)  # 8 bits a channel, red green blue
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND")


def _chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
