"""Signed deliveries, held against the specification's own example and read as a receiver would."""

import base64
import dataclasses
import hmac
import ipaddress

import pytest
from byte_server import say_ok, serve
from relay_kit import TENANT
from test_receiver import BODY, DELIVERY

from gateway import destinations, http
from gateway.relay.receiver import Receiver
from gateway.relay.signatures import Signer, read_secret, read_secrets
from gateway.settings import ConfigurationError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()
LOOPBACK = destinations.Networks((ipaddress.ip_network("127.0.0.0/8"),))


def test_the_example_of_the_specification_is_signed_as_there() -> None:
    signer = Signer({TENANT: (read_secret(SECRET),)})
    headers = signer.headers(TENANT, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330)
    assert headers == {
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_who_has_no_secret_gets_no_signature() -> None:
    assert Signer({TENANT: (b"x",)}).headers("ffff000011112222", "id", b"", 1) == {}


def test_each_of_several_secrets_signs() -> None:
    both = Signer(read_secrets({"key": [SECRET], TENANT: [OTHER]}, {"key": TENANT}))
    alone = [Signer({TENANT: (read_secret(secret),)}) for secret in (SECRET, OTHER)]
    expected = " ".join(one.headers(TENANT, "id", b"{}", 1)["webhook-signature"] for one in alone)
    assert both.headers(TENANT, "id", b"{}", 1)["webhook-signature"] == expected


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", SECRET.removeprefix("whsec_"), "whsec_MfKQ", SECRET + "!", "whsec_" + "A" * 92, "whsec_ключ"],
)
def test_what_is_no_secret_is_refused_without_telling_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match="entry 2: must be whsec_ and 24 to 64 bytes") as caught:
        read_secrets({TENANT: [SECRET], "0011": [text]}, {})
    assert not text.strip("whsec_") or text not in str(caught.value)


async def test_a_receiver_can_verify_each_attempt() -> None:
    times = iter([1_700_000_000.9, 1_700_000_020.1])
    async with serve(say_ok) as server, http.client(timeout_seconds=9, max_answer_bytes=99, guard=LOOPBACK) as client:
        receiver = Receiver(client, Signer({TENANT: (read_secret(SECRET),)}), clock=lambda: next(times))
        delivery = dataclasses.replace(DELIVERY, webhook=f"{server.url}/hook", meta={"tenant": TENANT})
        for _ in range(2):
            await receiver.post(delivery, BODY)
    seen = []
    for request in server.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(read_secret(SECRET), signed, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        seen.append((headers["webhook-id"], headers["webhook-timestamp"]))
    assert seen == [("r1", "1700000000"), ("r1", "1700000020")]
