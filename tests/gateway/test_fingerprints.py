"""What tells one request from another."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.fingerprints import Fingerprints

SECRET = b"a-secret-of-the-tests-long-enough"


@given(st.binary())
def test_the_same_bytes_have_the_same_name_in_every_process_of_a_secret(body: bytes) -> None:
    name = Fingerprints(SECRET).of(body)
    assert name == Fingerprints(SECRET).of(bytes(bytearray(body)))
    assert len(bytes.fromhex(name)) == 16
    assert name != Fingerprints(SECRET[::-1]).of(body)


@given(st.binary(), st.binary(min_size=1))
def test_other_bytes_have_another_name(body: bytes, more: bytes) -> None:
    prints = Fingerprints(SECRET)
    assert prints.of(body + more) != prints.of(body)
    for position in range(len(body)):
        flipped = body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]
        assert prints.of(flipped) != prints.of(body)
