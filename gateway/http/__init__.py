"""Calls over HTTP: the one place that makes clients, with what a caller must know about a call that failed.

A call has one deadline for all of it and a cap on the answer. It follows no redirect, keeps no cookie, uses no proxy,
decompresses nothing, and passes the URL on as it is. What matters about a failure is whether the other side can have
seen the request, so that a retry cannot do twice what was asked once: `NotSent` or `MaybeSent`.
"""

from gateway.http.dialing import Guard, Lookup
from gateway.http.failures import (
    AnswerTooLarge,
    CallFailed,
    ConnectFailed,
    ConnectTimedOut,
    DeadlineExceeded,
    Dropped,
    InvalidUrl,
    LookupFailed,
    MaybeSent,
    NotHttp,
    NotSent,
    Reset,
    TlsFailed,
    Truncated,
    UnknownHost,
)
from gateway.http.pool import Answer, HttpClient, StreamedAnswer, client, retry_after_seconds

__all__ = [
    "Answer",
    "AnswerTooLarge",
    "CallFailed",
    "ConnectFailed",
    "ConnectTimedOut",
    "DeadlineExceeded",
    "Dropped",
    "Guard",
    "HttpClient",
    "InvalidUrl",
    "Lookup",
    "LookupFailed",
    "MaybeSent",
    "NotHttp",
    "NotSent",
    "Reset",
    "StreamedAnswer",
    "TlsFailed",
    "Truncated",
    "UnknownHost",
    "client",
    "retry_after_seconds",
]
