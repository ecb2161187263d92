"""One file out of a form (multipart/form-data), parsed as it arrives: never more in memory than may be taken."""

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway import errors

OVERHEAD_BYTES = 64 * 1024
"""What a form may hold besides the file."""


async def read_file(chunks: AsyncIterator[bytes], content_type: str, *, field: str, max_bytes: int) -> bytes:
    """Give the bytes of the form's one part of the name `field`; other parts are read and forgotten.

    Raises `ClientError` when it is no form or has not exactly one such part, `UnsupportedMediaType` for another type,
    `PayloadTooLarge` as soon as the file has more than `max_bytes`, and what reading the body raises.
    """
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data":
        raise errors.UnsupportedMediaType("Content-Type: send multipart/form-data")
    if not options.get(b"boundary"):
        raise errors.ClientError("Content-Type: names no boundary")
    form = _Form(field.encode(), max_bytes)
    try:
        parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": form.begin,
                "on_header_field": form.header_name,
                "on_header_value": form.header_value,
                "on_header_end": form.header_end,
                "on_headers_finished": form.headers_end,
                "on_part_data": form.data,
                "on_end": form.end,
            },
        )
        async for chunk in chunks:
            parser.write(chunk)
    except FormParserError as error:
        raise errors.ClientError(f"the form cannot be read: {error}") from None
    if not form.is_whole:
        raise errors.ClientError("the form is cut off")
    if form.found is None:
        raise errors.ClientError(f"{field}: required, as a part of the form")
    return bytes(form.found)


class _Form:
    """What the parser has found so far."""

    def __init__(self, field: bytes, max_bytes: int) -> None:
        self._field = field
        self._max_bytes = max_bytes
        self._name = b""
        self._value = b""
        self._is_wanted = False
        self.found: bytearray | None = None
        self.is_whole = False

    def begin(self) -> None:
        self._name = self._value = b""
        self._is_wanted = False

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            kind, options = parse_options_header(self._value)
            self._is_wanted = kind == b"form-data" and options.get(b"name") == self._field
        self._name = self._value = b""

    def headers_end(self) -> None:
        if self._is_wanted and self.found is not None:
            raise errors.ClientError(f"{self._field.decode()}: given more than once")
        if self._is_wanted:
            self.found = bytearray()

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._is_wanted and self.found is not None:
            self.found += data[start:end]
            if len(self.found) > self._max_bytes:
                raise errors.PayloadTooLarge(f"the file has more than the {self._max_bytes} bytes that are taken")

    def end(self) -> None:
        self.is_whole = True
