"""Reading one file out of a form, however the form is cut into pieces."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors, forms

BOUNDARY = "cut-here"
KIND = f'multipart/form-data; boundary="{BOUNDARY}"'


async def pieces(data: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


def form(file: bytes) -> bytes:
    lines = [f"--{BOUNDARY}", 'Content-Disposition: form-data; name="content"; filename="x"', "", ""]
    return "\r\n".join(lines).encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()


@given(
    st.lists(st.binary(max_size=20) | st.sampled_from([b"\r\n", b"--", b"\r\n--cut-here", b"\r"]), max_size=8),
    st.lists(st.integers(0, 40), max_size=20),
)
async def test_the_file_is_what_was_sent_wherever_it_is_cut(parts: list[bytes], sizes: list[int]) -> None:
    file = b"".join(parts)
    if f"\r\n--{BOUNDARY}".encode() in file:
        return  # that is the boundary: its sender would have chosen another
    chunks = pieces(form(file), sizes)
    assert await forms.read_file(chunks, KIND, field="content", max_bytes=1000) == file


@given(st.binary(max_size=300))
async def test_anything_else_is_refused_and_never_a_defect(data: bytes) -> None:
    with pytest.raises(errors.ClientError):
        await forms.read_file(pieces(data, []), KIND, field="content", max_bytes=1000)


async def test_a_file_is_refused_as_soon_as_it_is_too_large() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield form(b"x" * 500).removesuffix(f"\r\n--{BOUNDARY}--\r\n".encode())
        while True:
            taken += 1
            yield b"x" * 100

    with pytest.raises(errors.PayloadTooLarge):
        await forms.read_file(endless(), KIND, field="content", max_bytes=1000)
    assert taken == 6
