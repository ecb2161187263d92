"""The client's history against the upstream's transcript."""

from hypothesis import assume, given
from hypothesis import strategies as st

from mappings import reconcile
from mappings.turn import Message

texts = st.sampled_from(["ok", "hm", "no", "¿sí?"])
messages = st.lists(st.builds(Message, st.booleans(), texts), max_size=40)


def user(text: str) -> Message:
    return Message(from_bot=False, text=text)


def bot(text: str) -> Message:
    return Message(from_bot=True, text=text)


def test_a_digest_is_blind_to_white_space_and_unicode_form_only() -> None:
    assert reconcile.digest(user(" caf\u00e9  now")) == reconcile.digest(user("cafe\u0301 now\n"))
    assert reconcile.digest(user("ok")) != reconcile.digest(bot("ok"))
    assert reconcile.digest(user("ok")) != reconcile.digest(user("Ok"))


@given(messages, texts, st.lists(texts.map(bot), max_size=3))
def test_a_message_is_found_exactly_when_it_was_posted(before: list[Message], text: str, replies: list[Message]) -> None:
    known = reconcile.tail(before)
    message = user(text)
    assume(sum(not m.from_bot for m in before) <= reconcile.TAIL_MESSAGES)  # a longer run of one text is not told apart
    assert reconcile.holds([*before, message, *replies], known, reconcile.digest(message))
    known_users = [name for name in known if name.startswith("u")]
    if known_users or not any(not m.from_bot for m in before):
        assert not reconcile.holds([*before, *replies], known, reconcile.digest(message))


def test_where_others_have_written_the_last_user_message_decides() -> None:
    known = reconcile.tail([user("a")])
    assert reconcile.holds([user("a"), user("x"), user("b")], known, reconcile.digest(user("b")))
    assert not reconcile.holds([user("a"), user("b"), user("x")], known, reconcile.digest(user("b")))


def test_the_tail_is_bounded_and_goes_on() -> None:
    first = reconcile.tail([user(str(number)) for number in range(40)])
    assert len(first) == reconcile.TAIL_MESSAGES
    assert reconcile.tail([bot("x")], before=first) == (*first[1:], reconcile.digest(bot("x")))
