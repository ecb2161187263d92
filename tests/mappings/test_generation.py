"""Streams of a generation, in every spelling and cut into any pieces."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.generation import Failed, Heard, Listener, Outcome

JSONL, SSE, JSON = "application/jsonl", "text/event-stream; charset=utf-8", "application/json"
RESULT = {"id": "m-1", "text": "Hello there.", "usage": {"token": 12}}
WHOLE = Heard("Hello there.", "m-1", tokens=12)


def lines(*events: tuple[str, Any]) -> bytes:
    return b"".join(json.dumps({"type": kind, "data": data}).encode() + b"\n" for kind, data in events)


def sse(*events: tuple[str, Any]) -> bytes:
    return "".join(f"event: {kind}\ndata: {json.dumps(data)}\n\n" for kind, data in events).encode()


def listen(content_type: str, body: bytes, *cuts: int) -> Outcome:
    listener = Listener(content_type)
    bounds = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for begin, end in itertools.pairwise(bounds):
        listener.feed(body[begin:end])
    return listener.close()


STREAMS = {
    "lines as in the public description": (
        JSONL,
        lines(("completeBegin", {}), ("token", {"token": "Hello "}), ("usage", {"model": "x"}), ("result", RESULT)),
    ),
    "lines with the seed's stages": (
        JSONL,
        lines(("send_result", {"id": "m-0", "text": "Hi"}), ("token", {"token": "H"}), ("receive_result", RESULT)),
    ),
    "server-sent events": (SSE, sse(("result", {"text": "Hello "}), ("result", {"text": "there."}), ("done", RESULT))),
    "done without a text": (
        SSE,
        sse(("result", {"text": "Hello "}), ("result", {"text": "there."}), ("done", RESULT | {"text": None})),
    ),
    "tokens alone and done": (
        JSONL,
        lines(("token", {"token": "Hello "}), ("token", {"token": "there."}), ("done", RESULT | {"text": None})),
    ),
    "server-sent events of lines' objects": (SSE, b"data: " + lines(("result", RESULT)) + b"\ndata: [DONE]\n\n"),
    "an object under its event's name": (SSE, b"event: result\ndata: " + lines(("result", RESULT)) + b"\n"),
    "data over two lines, comments, other line ends": (
        SSE,
        b'event: done\r\n: hi\r\ndata: {"id": "m-1", "usage": {"token": 12},\r\ndata: "text": "Hello there."}\r\n\r\n',
    ),
    "no line end at the end": (JSONL, lines(("result", RESULT)).rstrip()),
    "no blank line at the end": (SSE, sse(("done", RESULT)).rstrip()),
    "unreadable lines between": (JSONL, b"\n{\n[]\n7\n" + lines(("result", RESULT)) + b'{"type": 1}\n'),
    "one object": (JSON, json.dumps(RESULT).encode()),
}


@pytest.mark.parametrize("name", STREAMS)
def test_every_spelling_gives_the_same_reply(name: str) -> None:
    assert listen(*STREAMS[name]) == WHOLE


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 300), max_size=8))
def test_pieces_may_end_anywhere(name: str, cuts: list[int]) -> None:
    assert listen(*STREAMS[name], *cuts) == WHOLE


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_every_text_arrives_code_point_for_code_point(text: str) -> None:
    raw = json.dumps({"type": "result", "data": {"id": "m", "text": text}}, ensure_ascii=False).encode()
    assert listen(JSONL, raw + b"\n") == Heard(text, "m")


@pytest.mark.parametrize("reason", ["length", "activity", "iteration", "tired"])
def test_the_reason_of_the_end_is_told(reason: str) -> None:
    assert listen(JSONL, lines(("result", RESULT | {"end": {"reason": reason}}))) == Heard(
        "Hello there.", "m-1", reason, 12
    )


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_an_end_by_error_or_abort_is_a_failure(reason: str) -> None:
    assert listen(JSON, json.dumps(RESULT | {"end": {"reason": reason}}).encode()) == Failed(reason)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["error", "abort"])
def test_an_event_of_error_or_abort_ends_the_stream(kind: str) -> None:
    listener = Listener(JSONL)
    listener.feed(lines(("token", {"token": "Hel"}), (kind, {"message": "no more"})))
    assert listener.outcome == Failed(kind, "no more")  # type: ignore[arg-type]
    listener.feed(lines(("result", RESULT)))
    assert listener.close() == Failed(kind, "no more")  # type: ignore[arg-type]


def test_what_comes_behind_the_reply_changes_nothing() -> None:
    assert listen(JSONL, lines(("result", RESULT), ("error", {"message": "late"}))) == WHOLE


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSONL, b""),
        (JSON, b""),
        (JSON, b"[]"),
        (JSON, b"[" * 100_000),
        (JSONL, lines(("token", {"token": "Hello"}))),
        (SSE, sse(("result", {"text": "Hello"}))),
        (JSONL, b'{"type": "result", "data": {"id": "m-1", "te'),
        ("text/html", b"<html>"),
    ],
)
def test_a_stream_that_ends_too_early_has_no_reply(content_type: str, body: bytes) -> None:
    assert listen(content_type, body) in (Failed("incomplete"), Failed("empty", "stop"))


def test_a_reply_without_words_is_none() -> None:
    assert listen(JSON, b'{"id": "m", "text": " \\n", "end": {"reason": "iteration"}}') == Failed("empty", "iteration")
