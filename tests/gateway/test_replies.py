"""What the one who looks for a reply is left with."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gateway import auth, keys, replies
from gateway.relay.pulls import Brief, Pulls
from gateway.replies import Pushed, Sending
from gateway.sealed import Sealer

SECRET = b"a-secret-of-the-tests-long-enough"
CONVERSATION, OTHER = keys.ConversationKeys("00" * 16), keys.ConversationKeys("11" * 16)

nothing: Any = None


def sending(conversation: keys.ConversationKeys, turn_id: str = "t-1") -> Sending:
    return Sending(conversation, turn_id, nothing, None, "sk-client", "Au0A", b"{}")


@pytest.fixture
def pushed() -> Pushed:
    pulls = Pulls(nothing, Sealer([SECRET]))
    return Pushed("v3", "https://gateway.example", auth.Tokens([SECRET]), pulls, timedelta(seconds=60))


def brief(sealed: str, conversation: keys.ConversationKeys) -> Brief | None:
    opened = Sealer([SECRET]).open(sealed, conversation.pull)
    return None if opened is None else msgspec.json.decode(opened, type=Brief)


def test_the_clients_key_is_sealed_for_its_conversation_alone(pushed: Pushed) -> None:
    recovery = pushed.recovery(sending(CONVERSATION))
    assert recovery.after_ms == 60_000
    assert brief(recovery.sealed, CONVERSATION) == Brief("sk-client")
    assert brief(recovery.sealed, OTHER) is None
    assert brief(pushed.recovery(sending(OTHER)).sealed, OTHER) == Brief("sk-client")


def test_what_was_sealed_for_a_conversation_serves_its_next_turns(pushed: Pushed) -> None:
    assert pushed.recovery(sending(CONVERSATION, "t-2")) is pushed.recovery(sending(CONVERSATION))


def test_only_so_much_that_was_sealed_is_kept(pushed: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "MAX_KEPT", 1)
    first = pushed.recovery(sending(CONVERSATION))
    pushed.recovery(sending(OTHER))
    again = pushed.recovery(sending(CONVERSATION))
    assert again is not first
    assert brief(again.sealed, CONVERSATION) == Brief("sk-client")
