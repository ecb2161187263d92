"""The client's webhook, called once: what goes out, and what the answer or the lack of one means for the delivery."""

import time
from collections.abc import Callable
from datetime import timedelta

from gateway import destinations, http
from gateway.relay.delivery import LONGEST_PAUSE, Answered, Delivery, Failed, Result
from gateway.relay.signatures import Signer

ID_HEADER = "webhook-id"
"""The same over all attempts of a delivery, so that a receiver can tell a repetition (Standard Webhooks' name)."""

ATTEMPT_HEADER = "webhook-attempt"
"""Which attempt this is, from 1; it starts anew when an operator sends a dead letter again."""


class Receiver:
    """Posts deliveries with a client whose deadline, cap and guard are the webhooks'.

    `clock` gives Unix seconds: a receiver holds the time of a signature against its own.
    """

    def __init__(
        self, client: http.HttpClient, signer: Signer | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._signer = signer or Signer()
        self._clock = clock

    async def post(self, delivery: Delivery, body: bytes) -> Result:
        """Make one call to the webhook, at its URL byte for byte; the answer's head is all that matters."""
        headers = {
            "Content-Type": "application/json",
            ID_HEADER: delivery.id,
            ATTEMPT_HEADER: str(delivery.attempts),
            **self._signer.headers(delivery.tenant, delivery.id, body, int(self._clock())),
        }
        try:
            answer = await self._client.request("POST", delivery.webhook, headers=headers, content=body)
        except destinations.ForbiddenAddress:
            return Failed("forbidden_address", "destination")
        except http.InvalidUrl as error:
            return Failed(error.code, "destination")
        except http.LookupFailed as error:  # the name servers did not answer: nothing that the receiver has done
            return Failed(error.code, "ours")
        except http.CallFailed as error:
            return Answered(error.status) if error.status is not None else Failed(error.code)
        return Answered(answer.status, _asked_pause(answer))


def _asked_pause(answer: http.Answer) -> timedelta | None:
    seconds = http.retry_after_seconds(answer.headers)
    return None if seconds is None else timedelta(seconds=min(seconds, LONGEST_PAUSE.total_seconds()))
