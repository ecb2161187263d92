"""What must never leave, hidden in finished lines: credentials, queries of URLs, fields with a telling name.

It works on bytes as they would be written, so that nothing gets around it, and would rather hide too much.
"""

import functools
import re
from collections.abc import Iterator
from typing import Final

import msgspec
import msgspec.inspect as shapes

_URL_CHARACTER: Final = rb'(?:[^\s"\\]|\\["\\/])'
_URL: Final = re.compile(
    rb'://(?P<user>(?:[^\s"\\/?#@]|\\["\\])*@)*(?P<path>(?:[^\s"\\?#]|\\["\\/])*)(?P<query>[?#]%b*)?' % _URL_CHARACTER
)
_LONG_SEGMENT: Final = re.compile(rb"/[A-Za-z0-9_-]{40,}")
_CREDENTIALS: Final = re.compile(rb"(?i)\b(bearer|basic)\s+%b+" % _URL_CHARACTER)
_HEADER: Final = re.compile(
    rb"""(?i)(authorization(?:\\"|')?\s*[:=,]\s*(?:b?(?:\\"|'))?)(?:(?:bearer|basic)\s+)?%b+""" % _URL_CHARACTER
)
_FIELD: Final = re.compile(
    rb'(?i)("[a-z_-]{0,32}(?:key|secret|password|token|cookie|authorization)"\s*:\s*)"(?:[^"\\]|\\.)*"'
)
_FIELD_ENDS: Final = (b'key"', b'secret"', b'password"', b'token"', b'cookie"', b'authorization"')


def hide(line: bytes) -> bytes:
    """Give the line without what its texts and its fields' names tell to be secret."""
    line = hide_in_texts(line)
    lower = line.lower()
    if any(end in lower for end in _FIELD_ENDS):
        line = _FIELD.sub(rb'\1"***"', line)
    return line


def hide_in_texts(line: bytes) -> bytes:
    """Do the same for a line of which `has_telling_names` says that no field is hidden for its name.

    Each expression is tried only where a sign of it is. Most lines have no slash and no space.
    """
    if b"/" in line:
        if b"://" in line:
            line = _URL.sub(_hide_in_url, line)
        line = _LONG_SEGMENT.sub(b"/***", line)
    lower = line.lower()
    if b"authorization" in lower:
        line = _HEADER.sub(rb"\1***", line)
    if b" " in line and (b"bearer" in lower or b"basic" in lower):  # JSON has no other white space before a key
        line = _CREDENTIALS.sub(rb"\1 ***", line)
    return line


@functools.cache
def has_telling_names(kind: type[msgspec.Struct]) -> bool:
    """Tell whether a field of such a struct, as JSON, may be hidden for its name; also where names come with values."""
    names = "".join(f'"{name}":"",' for name in _names(shapes.type_info(kind)))
    return _FIELD.search(names.encode()) is not None


def _names(shape: shapes.Type) -> Iterator[str]:
    match shape:
        case shapes.StructType(fields=fields):
            for field in fields:
                yield field.encode_name
                yield from _names(field.type)
        case shapes.ListType(item_type=item) | shapes.VarTupleType(item_type=item):
            yield from _names(item)
        case shapes.UnionType(types=types):
            for one in types:
                yield from _names(one)
        case shapes.StrType() | shapes.IntType() | shapes.FloatType() | shapes.BoolType() | shapes.NoneType():
            pass
        case shapes.LiteralType() | shapes.EnumType():
            pass
        case _:
            yield "any_key"


def _hide_in_url(url: re.Match[bytes]) -> bytes:
    return b"://" + (b"***@" if url["user"] else b"") + url["path"] + (b"?***" if url["query"] else b"")
