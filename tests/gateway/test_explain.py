"""What `gateway explain` says of a request."""

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway import errors, explain
from gateway.explain import calls, v3
from mappings import fates

GOLDEN = Path(__file__).parents[1] / "golden"
SEED = GOLDEN / "seed/v1_request.json"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
FIND = "/api/conversations?bot_id=b&user_id=u"
CREATE = "/api/conversations"
CONVERSATION = "/api/conversations/{id}"
MESSAGES = f"{CONVERSATION}/messages"


def explained(mode: Any = "full", upstream: fates.Upstream = "v3", **fields: Any) -> explain.Explanation:
    body = {"bot_id": "b", "user_id": "u", "message": "hi", "webhook": "https://h/p?token=x"} | fields
    return explain.explain(json.dumps(body).encode(), mode=mode, now=NOW, upstream=upstream)


def test_the_production_request_is_explained_field_by_field() -> None:
    explanation = explain.explain(SEED.read_bytes(), mode="full", now=NOW)
    fields = {field.name: field for field in explanation.fields}
    assert set(fields) == set(json.loads(SEED.read_bytes())) == set(fates.ROWS)
    assert (fields["language"].value, fields["language"].fate) == ('"es"', "approximated")
    assert (fields["messages"].value, fields["messages"].target) == (
        "3 texts in 2 items",
        "conversation.with_messages",
    )
    assert (fields["prompt"].value, fields["prompt"].fate) == ("null", "nothing asked")
    assert explanation.losses.dropped == ("enable_protections",)


def test_the_calls_of_a_new_conversation_are_told_with_their_bodies() -> None:
    calls = explain.explain(SEED.read_bytes(), mode="full", now=NOW).calls
    bot, user_id = "88d86507-8d6c-4fad-b6f6-15d4fd377c83", "306066b7-e47a-405b-8726-ccec362858ac"
    assert [(call.method, call.path) for call in calls] == [
        ("GET", f"/api/conversations?bot_id={bot}&user_id={user_id}"),
        ("POST", "/api/conversations"),
        ("PATCH", "/api/conversations/{id}"),
        ("GET", "/api/conversations/{id}"),
        ("PATCH", "/api/conversations/{id}"),
        ("PUT", f"/api/users/{user_id}"),
        ("POST", "/api/conversations/{id}/messages"),
    ]
    find, create, adopt, read, patch, user, message = (call.body for call in calls)
    assert (find, read) == ({}, {})
    assert adopt == {"webhook": v3.CALLBACK_URL}
    assert user["attributes"] == [{"name": "age", "value": "30"}]
    assert create["with_messages"][0]["text"] == "¡Hola! Soy Angela."
    assert create["freeform"] == patch["freeform"]
    assert message["message"]["text"] == "Hola"


@pytest.mark.parametrize(
    ("upstream", "case"),
    [
        ("v3", "seed"),
        ("v3", "start_message"),
        ("chatbotkit", "chatbotkit_seed"),
        ("chatbotkit", "chatbotkit_follow_up"),
    ],
)
def test_the_calls_are_those_that_the_gateway_makes_in_its_order(upstream: fates.Upstream, case: str) -> None:
    story = json.loads((GOLDEN / case / "story.json").read_bytes())
    sent = story["steps"][0]["send"]
    body = json.dumps(sent).encode() if isinstance(sent, dict) else (GOLDEN / case / sent).read_bytes()
    told = iter(explain.explain(body, mode="full", now=NOW, upstream=upstream).calls)
    for call in json.loads((GOLDEN / case / "upstream_calls.json").read_bytes()):
        made = call["call"].replace("/v1/", "/").replace("<conversation 1>", "{id}")
        assert any(made == f"{one.method} {one.path}" for one in told), f"{made} is missing, or comes too late"


def test_a_long_history_follows_its_conversation_in_batches() -> None:
    history = [{"bot": True, "content": [f"text {index}"]} for index in range(250)]
    told = explained(upstream="chatbotkit", messages=history).calls
    batches = [call.body["items"] for call in told if call.path.endswith("/message/batch/create")]
    assert [len(batch) for batch in batches] == [100, 100, 50]
    assert [item["text"] for batch in batches for item in batch] == [f"text {index}" for index in range(250)]


def test_each_upstream_has_fates_of_its_own() -> None:
    fields = {"message": "hi", "degrade_grammar": 1.0, "image_url": "https://h/p.jpg", "language": "es"}
    by_upstream = {
        upstream: {field.name: field.target for field in explained(upstream=upstream, **fields).fields}
        for upstream in ("v3", "chatbotkit")
    }
    assert by_upstream["v3"]["language"] == "conversation.freeform"
    assert by_upstream["chatbotkit"]["language"] == "extensions.backstory"


def test_where_nothing_is_to_be_told_only_the_conversation_and_the_message_are_sent() -> None:
    for explanation in (explained(), explained(mode="none", language="es", user_display_name="Max")):
        assert [call.path for call in explanation.calls] == [FIND, CREATE, CONVERSATION, CONVERSATION, MESSAGES]
        assert explanation.notes == (v3.KNOWN_CONVERSATION,)


def test_where_the_bot_speaks_first_it_is_asked_to_and_what_it_says_is_added() -> None:
    explanation = explained(message=None, start_message=True)
    paths = [call.path for call in explanation.calls]
    assert paths[-2:] == ["/api/conversations/{id}/generate-response", MESSAGES]
    generated, added = (call.body for call in explanation.calls[-2:])
    assert generated == {"batch_size": 1}
    assert added["message"]["from_bot"] is True
    assert explanation.notes == (v3.KNOWN_CONVERSATION, calls.NO_MESSAGE)


@pytest.mark.parametrize(
    ("fields", "creates"),
    [
        ({"start_message": "Hi!"}, True),
        ({"is_follow_up": True}, False),
        ({"is_follow_up": True, "messages": [{"bot": True, "content": ["Hi!"]}]}, True),
    ],
)
def test_a_conversation_is_not_created_for_a_follow_up_of_nothing(fields: dict[str, Any], creates: bool) -> None:
    explanation = explained(message=None, **fields)
    assert (("POST", CREATE) in [(call.method, call.path) for call in explanation.calls]) is creates
    assert (v3.NOTHING_TO_FOLLOW in explanation.notes) is not creates


@pytest.mark.parametrize(
    ("fields", "media"),
    [({"image_url": "https://h/p.jpg"}, {"url": "https://h/p.jpg"}), ({"image_id": "p"}, None)],
)
def test_a_picture_alone_is_a_message(fields: dict[str, Any], media: dict[str, str] | None) -> None:
    call = explained(message=None, **fields).calls[-1]
    assert (call.method, call.path) == ("POST", MESSAGES)
    assert (call.body["message"]["text"], call.body["message"].get("attached_media")) == ("", media)


def test_only_a_request_with_a_history_can_be_ahead() -> None:
    assert v3.AHEAD in explained(messages=[{"bot": True, "content": ["Hi!"]}]).notes
    assert v3.AHEAD not in explained().notes


def test_a_users_id_is_one_segment_of_a_path_and_one_value_of_a_query() -> None:
    calls = explained(user_id="a/../b&c", user_display_name="Max").calls
    assert calls[0].path == "/api/conversations?bot_id=b&user_id=a%2F..%2Fb%26c"
    assert calls[-2].path == "/api/users/a%2F..%2Fb%26c"


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
    body = json.loads(explain.render_json(explanation))["calls"][1]["body"]
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
    assert set(shown) == {"upstream", "mode", "fields", "calls", "notes", "losses", "receipt"}
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
        (b'{"bot_id": "b", "user_id": "u"}', 422, "message: required"),
        (b'{"bot_id": "b", "user_id": "u", "start_message": "Hi", "no_start_message": true}', 422, "message: required"),
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
