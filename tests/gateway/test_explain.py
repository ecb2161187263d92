"""What `gateway explain` says of a request."""

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway import errors, explain

SEED = Path(__file__).parents[1] / "golden/seed/v1_request.json"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def explained(mode: Any = "full", **fields: Any) -> explain.Explanation:
    body = {"bot_id": "b", "user_id": "u", "message": "hi", "webhook": "https://h/p?token=x"} | fields
    return explain.explain(json.dumps(body).encode(), mode=mode, now=NOW)


def test_the_production_request_is_explained_field_by_field() -> None:
    explanation = explain.explain(SEED.read_bytes(), mode="full", now=NOW)
    fields = {field.name: field for field in explanation.fields}
    assert set(fields) == set(json.loads(SEED.read_bytes()))
    assert (fields["language"].value, fields["language"].fate) == ('"es"', "approximated")
    assert (fields["messages"].value, fields["messages"].target) == (
        "3 texts in 2 items",
        "conversation.with_messages",
    )
    assert (fields["prompt"].value, fields["prompt"].fate) == ("null", "nothing asked")
    assert explanation.losses.dropped == ("enable_protections",)


def test_the_calls_of_a_new_conversation_are_told_with_their_bodies() -> None:
    calls = explain.explain(SEED.read_bytes(), mode="full", now=NOW).calls
    assert [(call.method, call.path) for call in calls] == [
        ("PUT", "/api/users/306066b7-e47a-405b-8726-ccec362858ac"),
        ("POST", "/api/conversations"),
        ("PATCH", "/api/conversations/{id}"),
        ("POST", "/api/conversations/{id}/messages"),
    ]
    user, create, patch, message = (call.body for call in calls)
    assert user["attributes"] == [{"name": "age", "value": "30"}]
    assert create["with_messages"][0]["text"] == "¡Hola! Soy Angela."
    assert create["freeform"] == patch["freeform"]
    assert message["message"]["text"] == "Hola"


def test_where_nothing_is_to_be_told_only_the_conversation_and_the_message_are_sent() -> None:
    for explanation in (explained(), explained(mode="none", language="es", user_display_name="Max")):
        assert [call.path for call in explanation.calls] == ["/api/conversations", "/api/conversations/{id}/messages"]


def test_a_request_without_a_message_posts_none() -> None:
    explanation = explained(message=None)
    assert [call.path for call in explanation.calls] == ["/api/conversations"]
    assert explain.NO_MESSAGE in explanation.notes
    assert explain.NO_MESSAGE not in explained().notes


def test_a_users_id_is_one_segment_of_a_path() -> None:
    assert explained(user_id="a/../b", user_display_name="Max").calls[0].path == "/api/users/a%2F..%2Fb"


def test_the_text_names_every_field_every_call_and_every_loss() -> None:
    text = explain.run(str(SEED), as_json=False, mode="full")
    for name in json.loads(SEED.read_bytes()):
        assert name in text
    assert 'freeform: "Your name in this chat is \\"Angela\\"."' in text
    assert text.endswith(
        'Translation-Losses: approximated=("language" "degrade_grammar" "question_mode" "bot_display_name"), '
        'dropped=("enable_protections")'
    )


def test_a_request_that_loses_nothing_is_said_to() -> None:
    assert explain.render_text(explained()).endswith("LOST\n  nothing")
    assert "Ask for nothing" not in explain.render_text(explained())


def test_a_long_history_and_long_values_are_shortened_in_the_text_but_not_in_json() -> None:
    history = [{"bot": True, "content": [f"text {index}"]} for index in range(30)]
    explanation = explained(messages=history, platform="x" * 500)
    text = explain.render_text(explanation)
    assert "with_messages: 27 more" in text
    assert "text 20" not in text
    assert f'"{"x" * 58}…' in text
    body = json.loads(explain.render_json(explanation))["calls"][0]["body"]
    assert len(body["with_messages"]) == 30


def test_the_webhooks_secret_is_not_shown() -> None:
    for rendered in (explain.render_text(explained()), explain.render_json(explained())):
        assert "https://h/p?" in rendered
        assert "token=x" not in rendered
    assert '"https://h/p"' in explain.render_text(explained(webhook="https://h/p"))


def test_a_value_cannot_command_the_terminal() -> None:
    text = explain.render_text(explained(**{"colour\x9b31m": 1}, platform="\x1b]0;x\x07\u202e"))
    assert set(filter(lambda sign: not sign.isprintable(), text)) == {"\n"}


def test_json_is_one_object_with_the_same_content() -> None:
    shown = json.loads(explain.run(str(SEED), as_json=True, mode="none"))
    assert set(shown) == {"mode", "fields", "calls", "notes", "losses", "receipt"}
    assert shown["mode"] == "none"
    assert "language" in shown["losses"]["dropped"]


def test_the_request_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SEED.read_bytes())))
    assert '"Qkkie"' in explain.run("-", as_json=False, mode="full")


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (b"", 400, "not JSON"),
        (b'{"bot_id": "b"}', 400, "user_id"),
        (b'{"bot_id": "b", "user_id": "u", "min_delay": -1}', 422, "min_delay"),
    ],
)
def test_what_is_no_request_is_refused_as_the_gateway_would(body: bytes, status: int, where: str) -> None:
    with pytest.raises(errors.ClientError) as caught:
        explain.explain(body, mode="full", now=NOW)
    said, _, answer = caught.value.message.partition(": ")
    assert said == f"the gateway would answer {status}"
    assert set(json.loads(answer)) == {"error", "message", "request_id"}
    assert where in json.loads(answer)["message"]


def test_a_file_that_is_not_there_is_said_to_be_unreadable(tmp_path: Path) -> None:
    with pytest.raises(errors.ClientError, match=r"gone\.json: cannot be read: No such file"):
        explain.run(str(tmp_path / "gone.json"), as_json=False, mode="full")
