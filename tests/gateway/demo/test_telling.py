"""How the story looks in a terminal."""

from dataclasses import replace

import click
import pytest

from gateway.demo import story, telling
from gateway.demo.story import Event, Story

EVENT = Event(1016.4, "client → gateway", "POST /v2/complete", ("exact:        " + "a_name, " * 30,))


@pytest.mark.parametrize("columns", [72, 100, 133])
def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    first, *details = click.unstyle(telling.line(EVENT)).splitlines()
    assert first == "   1.016 s  client → gateway   POST /v2/complete"
    assert len(details) > 1
    assert all(len(line) <= columns for line in details)
    assert columns - 10 < max(map(len, details))


def test_what_does_not_fit_a_line_goes_on_below_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    _, *details = click.unstyle(telling.line(EVENT)).splitlines()
    assert {line.index("a_name") for line in details} == {len(telling.INDENT) + len("exact:        ")}


def test_a_long_name_in_a_path_is_shortened_to_what_tells_it_apart() -> None:
    call = {
        "method": "POST",
        "path": "/api/conversations/1537a54a-69b1-4b09-8ac6-bd6c92be6a3c/messages",
        "query": "",
        "status": 202,
        "milliseconds": 0.25,
    }
    assert story._describe_call(call) == "POST /api/conversations/1537a54a…/messages → 202 in 0.2 ms"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"method": "GET", "json": None}, ("looks for what V3 has of this bot and user",)),
        (
            {"method": "POST", "json": {"message": {"text": "Hi", "from_bot": False}}},
            ("adds the user's new message «Hi»",),
        ),
        (
            {
                "method": "POST",
                "json": {
                    "with_messages": [{"from_bot": True, "text": "a"}, {"from_bot": False, "text": "b"}],
                    "webhook": "http://g/callbacks/v3/" + "x" * 43,
                    "platform": "p",
                },
            },
            (
                "creates the conversation with the client's history: bot «a», user «b»",
                "callbacks to http://g/callbacks/v3/xxxxxxxx…",
                "says what V1 was told of the chat, in platform",
            ),
        ),
        (
            {"method": "PUT", "json": {"id": "u", "username": "Max", "attributes": []}},
            ("says what V1 was told of the chat, in username, attributes",),
        ),
        ({"method": "DELETE", "json": None}, ()),
    ],
)
def test_each_call_to_the_upstream_is_told_by_what_it_is_for(call: dict[str, object], told: tuple[str, ...]) -> None:
    assert story._describe_body(call) == told


def ended(**changes: object) -> str:
    happened = replace(Story(dict(story.REQUEST)), **{"acknowledgement": {"status": 200}} | changes)  # type: ignore[arg-type]
    return click.unstyle(telling.conclusion(happened)).strip()


def test_the_end_says_whether_the_reply_came_in_its_window() -> None:
    in_time = ended(delivered_after_seconds=6.0, arrived_in_window=True, callbacks=[{}, {}])
    assert in_time == (
        "The reply arrived 6.00 s after the request, in its window of 5 to 8 s: one delivery of 2 segments."
    )
    assert ended(delivered_after_seconds=12.0).endswith("not in its window of 5 to 8 s.")
    assert ended() == "No reply came within 30 s."
    assert ended(acknowledgement={"status": 502}) == "The gateway did not take the request."
