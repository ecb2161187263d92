"""What a call that failed means: whether the other side can have seen it, and what went wrong, in words for anyone."""

import os
import socket
from typing import ClassVar

import aiohttp

from gateway.http import direct


class CallFailed(Exception):
    """A call without a usable answer. `code` names the kind, for metrics; the text holds no part of the URL's path.

    `status` is the answer's, if it failed after that was read.
    """

    code: ClassVar[str] = "failed"

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotSent(CallFailed):
    """The request surely did not reach the other side: doing it again is safe."""


class InvalidUrl(NotSent):
    """The URL cannot be called, now or later."""

    code = "invalid_url"


class UnknownHost(NotSent):
    """The host's name has no address."""

    code = "unknown_host"


class LookupFailed(NotSent):
    """The host's name could not be looked up: its name servers or ours did not answer."""

    code = "lookup_failed"


class ConnectFailed(NotSent):
    """Nobody accepted the connection: refused, unreachable, or broken off in the handshake."""

    code = "connect_failed"


class ConnectTimedOut(NotSent):
    """No connection in time: the other side was silent, or all connections allowed to it were in use."""

    code = "connect_timeout"


class TlsFailed(NotSent):
    """The other side could not prove who it is, or no common version of TLS was found."""

    code = "tls_failed"


class MaybeSent(CallFailed):
    """The request may have had its effect: look before doing it again."""


class DeadlineExceeded(MaybeSent):
    """No whole answer before the call's deadline."""

    code = "deadline_exceeded"


class Dropped(MaybeSent):
    """The other side closed the connection before it answered."""

    code = "connection_dropped"


class Reset(MaybeSent):
    """The connection was reset while the request or the answer was under way."""

    code = "connection_reset"


class Truncated(MaybeSent):
    """The answer's body ended before its announced length."""

    code = "answer_truncated"


class AnswerTooLarge(MaybeSent):
    """The answer's body is larger than this client reads."""

    code = "answer_too_large"


class NotHttp(MaybeSent):
    """What came back is no HTTP answer, or one with a head beyond all measure."""

    code = "not_http"


_MEANINGS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[CallFailed], str], ...] = (
    # The first that fits counts: aiohttp's kinds are kinds of each other, special ones first.
    (aiohttp.InvalidURL, InvalidUrl, "the URL cannot be called"),
    (aiohttp.NonHttpUrlClientError, InvalidUrl, "the URL is not one of HTTP"),
    (aiohttp.ConnectionTimeoutError, ConnectTimedOut, "no connection in time"),
    (aiohttp.ClientConnectorDNSError, LookupFailed, "the host's name could not be looked up"),
    (aiohttp.ClientConnectorCertificateError, TlsFailed, "the certificate cannot be trusted"),
    (aiohttp.ClientConnectorSSLError, TlsFailed, "the TLS handshake failed"),
    (aiohttp.ClientConnectorError, ConnectFailed, "no connection"),
    (TimeoutError, DeadlineExceeded, "no whole answer in time"),
    (aiohttp.ServerDisconnectedError, Dropped, "the connection was closed before the answer"),
    (aiohttp.ClientPayloadError, Truncated, "the answer ended before its announced length"),
    ((aiohttp.ClientResponseError, direct.NotAnAnswer), NotHttp, "the answer is not HTTP"),
    (OSError, Reset, "the connection broke"),
)
_NO_ADDRESS = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


def meaning(error: Exception, status: int | None = None) -> CallFailed:
    """Give our error for one of aiohttp's. One that is not known here may have been sent.

    Its text is made anew, and aiohttp's must not be shown: that one holds the URL, with the secrets in its query,
    and the addresses that a name resolved to.
    """
    if isinstance(error, aiohttp.ClientConnectorDNSError) and error.os_error.errno in _NO_ADDRESS:
        return UnknownHost("the host's name has no address")
    for kind, failure, text in _MEANINGS:
        if isinstance(error, kind):
            detail = _detail(error)
            return failure(f"{text}: {detail}" if detail else text, status)
    return MaybeSent(f"the call failed: {type(error).__name__}", status)


def _detail(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(getattr(error.certificate_error, "verify_message", ""))
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ClientConnectorDNSError)):
        return ""  # their numbers are not the system's
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return os.strerror(error.errno).lower()
    return ""
