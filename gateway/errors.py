"""What can go wrong, named by whose fault it is; one handler turns these into V1-shaped answers."""

from typing import ClassVar


class GatewayError(Exception):
    """A broken promise that has an HTTP answer: `status`, a stable `code` and a text that says what and where."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_seconds = retry_after_seconds


class ClientError(GatewayError):
    """The caller's request cannot be served as it is; nothing was posted or stored."""

    status = 400
    code = "bad_request"


class Unauthorized(ClientError):
    """No API key, or one that cannot be passed on."""

    status = 401
    code = "unauthorized"


class Forbidden(ClientError):
    """The caller may not ask this from where it is."""

    status = 403
    code = "forbidden"


class NotFound(ClientError):
    """No such route or resource."""

    status = 404
    code = "not_found"


class MethodNotAllowed(ClientError):
    """The route exists, but not for this method."""

    status = 405
    code = "method_not_allowed"


class RequestTimeout(ClientError):
    """The body did not come in time."""

    status = 408
    code = "request_timeout"


class PayloadTooLarge(ClientError):
    """The body is over `MAX_BODY_BYTES`."""

    status = 413
    code = "payload_too_large"


class UnsupportedMediaType(ClientError):
    """The body is of a type that the route does not take."""

    status = 415
    code = "unsupported_media_type"


class UnsupportedCoding(UnsupportedMediaType):
    """The body is compressed; the answer names the codings that are taken."""


class OutOfRange(ClientError):
    """The shape is right, a value is not."""

    status = 422
    code = "unprocessable"


class TooManyTurns(ClientError):
    """The conversation's queue is full; others are not affected."""

    status = 429
    code = "too_many_requests"


class TooManyReplies(ClientError):
    """As many of the tenant's replies as may do so wait for their delivery; others are not affected."""

    status = 429
    code = "too_many_requests"


class TooManyUploads(ClientError):
    """The tenant has uploaded its share."""

    status = 429
    code = "too_many_requests"


class HeadersTooLarge(ClientError):
    """The request's head, or what stands between the pieces of its body, is larger than is taken."""

    status = 431
    code = "headers_too_large"


class UpstreamRejected(GatewayError):
    """The upstream understood and refused: its 4xx, in V1's shape."""

    code = "upstream_rejected"

    def __init__(self, message: str, *, status: int, retry_after_seconds: int | None = None) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.status = status  # type: ignore[misc]  # the upstream chose it, per answer


class UpstreamUnavailable(GatewayError):
    """The upstream failed or answered something that is not its protocol."""

    status = 502
    code = "bad_gateway"


class UpstreamTimeout(GatewayError):
    """The upstream did not answer in time; whether the message got there is settled by the client's retry."""

    status = 504
    code = "gateway_timeout"


class NotSupported(GatewayError):
    """The upstream that the gateway is set up for has nothing of the kind."""

    status = 501
    code = "not_supported"


class StoreUnavailable(GatewayError):
    """Redis is away or cannot write: a turn is refused rather than accepted and forgotten."""

    status = 503
    code = "store_unavailable"


class Overloaded(GatewayError):
    """As many replies as may do so wait for their delivery, of all tenants together."""

    status = 503
    code = "overloaded"


class Draining(GatewayError):
    """This process is on its way out and takes nothing new."""

    status = 503
    code = "draining"
