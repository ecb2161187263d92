"""The client's history against the upstream's transcript."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NoReturn

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mappings import alignment, reconcile
from mappings.reconcile import CatchUp, Continue, Create, Known, Policy, Reseed, Verdict
from mappings.turn import Message, Utterance

texts = st.sampled_from(["ok", "hm", "no", "¿sí?"])
messages = st.lists(st.builds(Message, st.booleans(), texts), max_size=40)


def user(text: str) -> Message:
    return Message(from_bot=False, text=text)


def bot(text: str) -> Message:
    return Message(from_bot=True, text=text)


def chat(line: str) -> list[Message]:
    """Read `u1 b1 b2 u2`: a message a word, its speaker first."""
    return [Message(word.startswith("b"), word) for word in line.split()]


def history(spoken: Iterable[Message]) -> tuple[Utterance, ...]:
    return tuple(Utterance(message.from_bot, (message.text,)) for message in spoken)


def verdict(client: str, upstream: str, *, unanswered: int = 0, whole: bool = True) -> Verdict:
    known = Known.of(chat(upstream))
    known = known if whole else Known(known.tail)
    return reconcile.decide(history(chat(client)), known, unanswered=unanswered).verdict


class World:
    """A client, an upstream, and what the gateway remembers between them, as its store does it."""

    def __init__(self, *, records_at_once: bool = True, joint: str | None = None) -> None:
        self.client: list[Message] = []
        self.upstream: list[Message] = []
        self.records_at_once = records_at_once
        self.joint = joint
        self.open: list[Message] = []  # the user's messages that nobody has answered
        self.waiting: list[tuple[list[Message], list[Message], int]] = []  # replies: what they answer, segments, place
        self.tail = ""
        self.count: int | None = 0
        self.spoken = 0

    @property
    def known(self) -> Known:
        return Known.read(self.tail, None if self.count is None else str(self.count))

    @property
    def unanswered(self) -> int:
        return len(self.open) + sum(len(answers) for answers, _, _ in self.waiting)

    def decide(self, policy: Policy | None = None, window: int | None = None) -> reconcile.Decision:
        sent = self.client if window is None else self.client[len(self.client) - min(window, len(self.client)) :]
        return reconcile.decide(history(sent), self.known, unanswered=self.unanswered, policy=policy)

    def hold(self, message: Message) -> None:
        """The upstream has the message, and the store remembers it."""
        self.upstream.append(message)
        self.tail = (self.tail + reconcile.digest(message))[-reconcile.TAIL_MESSAGES * reconcile.DIGEST_CHARACTERS :]
        self.count = None if self.count is None else self.count + 1

    def restart(self) -> None:
        digests = re.findall("....", self.tail)
        self.tail, self.count = "".join(one for one in digests if not re.match("[A-Za-f]", one)), None

    def carry_out(self, decision: reconcile.Decision) -> None:
        if decision.restart:
            self.restart()
        if isinstance(decision.plan, CatchUp):
            for message in decision.plan.add:
                self.hold(message)

    def say(self, text: str) -> None:
        self.hold(user(text))
        self.open.append(user(text))
        if self.records_at_once:
            self.client.append(user(text))

    def reply(self, segments: Sequence[str]) -> None:
        place = len(self.upstream)
        for text in segments:
            self.hold(bot(text))
        if self.open or not self.waiting:
            self.waiting.append((self.open, [], place))
            self.open = []
        self.waiting[-1][1].extend(bot(text) for text in segments)

    def deliver(self, *, dead: bool = False) -> None:
        if not self.waiting:
            return
        answers, segments, _ = self.waiting.pop(0)
        if not self.records_at_once:
            self.client.extend(answers)
        if dead:
            return
        if self.joint is not None:
            segments = [bot(self.joint.join(message.text for message in segments))]
        self.client.extend(segments)

    def deliver_all(self) -> None:
        while self.waiting:
            self.deliver()

    def unique(self, from_bot: bool = False) -> str:
        self.spoken += 1
        return f"{'bot' if from_bot else 'user'} says {self.spoken} things"


Event = tuple[Literal["say", "deliver", "die"]] | tuple[Literal["reply"], int]

MOST_SEGMENTS = 3
said = st.just(("say",))
replied = st.tuples(st.just("reply"), st.integers(1, MOST_SEGMENTS))
delivered = st.just(("deliver",))
died = st.just(("die",))
exchange: list[Event] = [("say",), ("reply", 2)]
courses: st.SearchStrategy[list[Event]] = st.lists(st.one_of(said, said, replied, delivered), max_size=60)


def go_in_order(world: World, course: Iterable[Event]) -> None:
    """Let the course happen so that every reply is delivered before anybody speaks: both sides have one order."""
    for event in course:
        go(world, [event])
        world.deliver_all()


def go(world: World, course: Iterable[Event], words: Sequence[str] | None = None, draw: Sequence[int] = ()) -> None:
    """Let the course happen, with unique texts or out of few words; no reply waits until the tail has forgotten it."""
    picks = iter(draw)

    def text(*, from_bot: bool) -> str:
        return world.unique(from_bot) if words is None else words[next(picks, 0) % len(words)]

    for event in course:
        while world.waiting and len(world.upstream) - world.waiting[0][2] > reconcile.TAIL_MESSAGES - MOST_SEGMENTS:
            world.deliver()
        match event:
            case ("say",):
                world.say(text(from_bot=False))
            case ("reply", number):
                world.reply([text(from_bot=True) for _ in range(number)])
            case ("deliver",):
                world.deliver()
            case ("die",):
                world.deliver(dead=True)


# Digests


def test_a_digest_is_blind_to_white_space_and_unicode_form_only() -> None:
    assert reconcile.digest(user(" caf\u00e9  now")) == reconcile.digest(user("cafe\u0301 now\n"))
    assert reconcile.digest(bot(" caf\u00e9  now")) == reconcile.digest(bot("cafe\u0301\u00a0now\n"))
    assert reconcile.digest(user("ok")) != reconcile.digest(bot("ok"))
    assert reconcile.digest(user("ok")) != reconcile.digest(user("Ok"))
    assert reconcile.digest(user("is it")) != reconcile.digest(user("it is"))


@example(text="\ud800", from_bot=False)
@given(st.text(st.characters()), st.booleans())
def test_a_digest_has_four_characters_and_shows_its_speaker(text: str, from_bot: bool) -> None:
    name = reconcile.digest(Message(from_bot, text))
    assert len(name) == reconcile.DIGEST_CHARACTERS
    assert bool(re.match("[A-Za-f]", name)) is not from_bot


def test_the_tail_is_bounded_and_goes_on() -> None:
    first = reconcile.tail([user(str(number)) for number in range(40)])
    assert len(first) == reconcile.TAIL_MESSAGES * reconcile.DIGEST_CHARACTERS
    assert reconcile.tail([bot("x")], before=first) == first[reconcile.DIGEST_CHARACTERS :] + reconcile.digest(bot("x"))


def test_a_tail_fits_a_small_hash_of_the_store() -> None:
    assert len(reconcile.tail(chat("u1 b1 " * 20))) == 64


def test_a_text_without_words_is_no_message() -> None:
    assert reconcile.tail([bot(""), user(" \n")]) == ""
    assert Known.of([bot(""), user("u1")]) == Known(reconcile.tail([user("u1")]), 1)


def test_the_stored_form_is_read_back() -> None:
    known = Known.of(chat("u1 b1 u2"))
    assert Known.read(known.tail, "3") == known
    assert Known.read(known.tail, None) == Known(known.tail, None)


@pytest.mark.parametrize(("tail", "count"), [("ABCDE", "1"), ("AB D", "1"), ("ñ", "1"), ("ABCD", "many")])
def test_an_unreadable_stored_form_is_unknown(tail: str, count: str) -> None:
    assert Known.read(tail, count) == Known()


# Whether a message was posted


@given(messages, texts, st.lists(texts.map(bot), max_size=3))
def test_a_message_is_found_exactly_when_it_was_posted(
    before: list[Message], text: str, replies: list[Message]
) -> None:
    known = reconcile.tail(before)
    message = user(text)
    assume(sum(not m.from_bot for m in before) <= reconcile.TAIL_MESSAGES)  # a longer run of one text is not told apart
    assert reconcile.holds([*before, message, *replies], known, reconcile.digest(message))
    known_users = [name for name in re.findall("....", known) if re.match("[A-Za-f]", name)]
    if known_users or not any(not m.from_bot for m in before):
        assert not reconcile.holds([*before, *replies], known, reconcile.digest(message))


def test_where_others_have_written_the_last_user_message_decides() -> None:
    known = reconcile.tail([user("a")])
    assert reconcile.holds([user("a"), user("x"), user("b")], known, reconcile.digest(user("b")))
    assert not reconcile.holds([user("a"), user("b"), user("x")], known, reconcile.digest(user("b")))


# The verdict, case by case


def test_a_conversation_that_nobody_knows_is_seeded_with_the_history() -> None:
    sent = history(chat("u1 b1"))
    decision = reconcile.decide(sent, None)
    assert (decision.verdict, decision.plan) == (Verdict.SEED, Create(sent))


@pytest.mark.parametrize(
    ("client", "upstream", "unanswered", "expected"),
    [
        # in step, or behind
        ("u1 b1", "u1 b1", 0, Verdict.IN_SYNC),
        ("u1", "u1 b1", 1, Verdict.IN_SYNC),  # the reply waits for delivery
        ("u1", "u1 b1", 0, Verdict.IN_SYNC),  # or never arrived
        ("u1 b1", "u1 b1 u2", 1, Verdict.IN_SYNC),
        ("u1 b1", "u1 b1 u2 b2 u3", 2, Verdict.IN_SYNC),
        ("u1 u2 b1 b2", "u1 b1 u2 b2", 0, Verdict.IN_SYNC),  # the user went on before the reply was delivered
        ("u1 u2 b2", "u1 b1 u2 b2", 0, Verdict.IN_SYNC),  # a reply died
        ("b0 u1 b1", "u1 b1", 0, Verdict.IN_SYNC),  # the client sends more than it did at first
        ("", "u1", 1, Verdict.IN_SYNC),
        # windows
        ("u2 b2", "u1 b1 u2 b2", 0, Verdict.WINDOW),
        ("b2", "u1 b1 u2 b2", 0, Verdict.WINDOW),
        ("b1", "u1 b1 u2 b2", 1, Verdict.WINDOW),
        ("", "u1 b1", 0, Verdict.WINDOW),
        # ahead
        ("u1 b1 u2 b2", "u1 b1", 0, Verdict.AHEAD),
        ("u1 b1 b2", "u1 b1", 0, Verdict.AHEAD),
        ("u1 b1 u2", "u1 b1", 0, Verdict.AHEAD),
        ("u1 b9", "u1", 1, Verdict.AHEAD),
        ("u1 u2 b2", "u1 b1", 0, Verdict.AHEAD),
        ("u1 b1 b9", "u1 b1 u2", 1, Verdict.AHEAD),
        ("b0 u1", "b0", 0, Verdict.AHEAD),
        ("u1 b1", "", 0, Verdict.AHEAD),
        ("b9", "u1", 1, Verdict.AHEAD),
        # forked
        ("u1 b1", "u1 b1 u2 b2", 0, Verdict.FORKED),  # regenerated
        ("b0", "b0 u1 b1", 0, Verdict.FORKED),
        ("u1 b1 u9 b9", "u1 b1 u2 b2", 0, Verdict.FORKED),  # edited
        ("u1 b1 u9", "u1 b1 u2", 1, Verdict.FORKED),
        ("u1 b1 u9 b2", "u1 b1 u2 b2", 0, Verdict.FORKED),
        ("u1 b9", "u1 b1", 0, Verdict.FORKED),  # another reply in the place of ours
        ("u1 b9 u2 b2", "u1 b1 u2 b2", 0, Verdict.FORKED),
        ("b9", "b1", 0, Verdict.FORKED),
        ("u9 b9", "u1 b1", 0, Verdict.FORKED),
    ],
)
def test_the_verdict_on(client: str, upstream: str, unanswered: int, expected: Verdict) -> None:
    assert verdict(client, upstream, unanswered=unanswered) == expected


def test_a_tail_that_begins_in_the_middle_says_nothing_of_what_came_before() -> None:
    assert verdict("u1 u2 b1", "u2", whole=False) == Verdict.IN_SYNC  # b1 may be a late reply to u1
    assert verdict("u1 u2 b1", "u2", whole=True) == Verdict.AHEAD
    assert verdict("u1 b1", "b2 b3 b4", whole=False) == Verdict.IN_SYNC  # a long reply waits for delivery
    assert verdict("u1 b1", "u2 b2", whole=False, unanswered=1) == Verdict.IN_SYNC
    assert verdict("u1 b1", "u2 b2", whole=False) == Verdict.FORKED


@pytest.mark.parametrize(
    ("client", "upstream", "expected"),
    [
        ("u1 b1 u2 b2 b9", "u1 b1 u2 b2", Verdict.AHEAD),
        ("u1 b1 u9", "u1 b1", Verdict.AHEAD),
        ("u1 b1", "u1 b1 u2 b2", Verdict.FORKED),
        ("u1 b9 u2 b2", "u1 b1 u2 b2", Verdict.FORKED),
        ("b9 u2 b2", "u1 b1 u2 b2", Verdict.FORKED),
    ],
)
def test_nor_does_it_excuse_what_came_later(client: str, upstream: str, expected: Verdict) -> None:
    assert verdict(client, upstream, whole=False) == expected


def test_repeated_replies_are_matched_whichever_of_them_were_delivered() -> None:
    assert verdict("u1 u2 bno bok bok", "bok bok u2 bok", whole=False) == Verdict.IN_SYNC
    assert verdict("u1 b2 b1", "u1 b1 b2") == Verdict.IN_SYNC
    assert verdict("u1 b9 bok", "u1 bok bok") == Verdict.FORKED
    assert verdict("u1 b2 b2 b1", "u1 b0 b1 b2", whole=False) == Verdict.AHEAD  # one of them is not ours


def test_a_repeated_reply_does_not_speak_against_a_lag() -> None:
    assert verdict("bok bno", "u1 bok bok", whole=False, unanswered=1) == Verdict.IN_SYNC
    assert verdict("u1 b1 b2 b3", "b1 b2", whole=False) == Verdict.AHEAD
    assert verdict("u1 b1 b2 u3", "b1 b2", whole=False) == Verdict.AHEAD
    assert verdict("u1 u9", "b1 b2 b3 u1", whole=False, unanswered=1) == Verdict.AHEAD
    assert verdict("u1 u3 b1 b2", "b1 b2", whole=False) == Verdict.IN_SYNC  # u3 may be older than the tail


def test_a_joined_reply_excuses_no_other() -> None:
    known = Known.of(chat("u1 b1 b2"))
    assert reconcile.decide(history([*chat("u1"), bot("b1\nb2")]), known).verdict == Verdict.WINDOW
    assert reconcile.decide(history([*chat("u1 b9"), bot("b1\nb2")]), known).verdict == Verdict.FORKED


def test_nothing_is_held_against_a_conversation_of_which_nothing_is_known() -> None:
    decision = reconcile.decide(history(chat("u1 b1")), Known())
    assert (decision.verdict, decision.plan, decision.restart) == (Verdict.IN_SYNC, Continue(), False)
    assert reconcile.decide((), Known()).verdict == Verdict.WINDOW


def test_after_the_store_was_lost_a_lag_is_no_fork() -> None:
    assert verdict("u1 b1", "u1 b1 u2 b2 u3 b3", unanswered=reconcile.TAIL_MESSAGES) == Verdict.IN_SYNC
    assert verdict("u1 b1 u2 b2", "u1 b1", unanswered=reconcile.TAIL_MESSAGES) == Verdict.AHEAD


def test_a_client_farther_ahead_than_one_turn_could_add_has_forked() -> None:
    known = Known.of(chat("u1 b1"))
    away = [user(f"a{number}") for number in range(alignment.LOOK_BACK)]
    assert reconcile.decide(history([*chat("u1 b1"), *away]), known).verdict == Verdict.AHEAD
    assert reconcile.decide(history([*chat("u1 b1"), *away, user("more")]), known).verdict == Verdict.FORKED


def test_texts_without_words_are_neither_compared_nor_added() -> None:
    client = [user("u1"), bot(" "), bot("b1"), user(""), bot("b2"), bot("\n")]
    decision = reconcile.decide(history(client), Known.of(chat("u1 b1")))
    assert (decision.verdict, decision.plan) == (Verdict.AHEAD, CatchUp((bot("b2"),), lost=0))
    blank = Known(reconcile.tail(chat("u1 b1")) + reconcile.digest(user(" ")), 3)
    assert reconcile.decide(history([*chat("u1 b1"), user(" ")]), blank).verdict == Verdict.IN_SYNC


def test_a_long_history_counts_as_whole() -> None:
    client = [user(str(number)) for number in range(reconcile.COUNTED)]
    known = Known(reconcile.tail(client), 10_000)
    assert reconcile.decide(history(client), known).verdict == Verdict.IN_SYNC
    assert reconcile.decide(history(client[1:]), known).verdict == Verdict.WINDOW


def test_the_log_hears_how_much_was_compared() -> None:
    decision = reconcile.decide(history(chat("u2 b2 u3 b3")), Known.of(chat("u1 b1 u2 bx b2 by")))
    assert (decision.matched, decision.missing, decision.extra) == (2, 2, 2)


# What is done about it


def test_what_the_client_is_ahead_is_added_and_what_cannot_be_is_named() -> None:
    client = history(chat("u1 b1 u2 b2 u3 b3 b4"))
    known = Known.of(chat("u1 b1"))
    assert reconcile.decide(client, known).plan == CatchUp(tuple(chat("b2 b3 b4")), lost=2)
    silent = Policy(upstream_takes_user_messages=True)
    assert reconcile.decide(client, known, policy=silent).plan == CatchUp(tuple(chat("u2 b2 u3 b3 b4")), lost=0)


def test_a_reply_that_came_late_is_not_added_again() -> None:
    decision = reconcile.decide(history(chat("u1 u2 b1 b2")), Known.of(chat("u1 b1")))
    assert (decision.verdict, decision.plan) == (Verdict.AHEAD, CatchUp((bot("b2"),), lost=1))
    twice = reconcile.decide(history(chat("u1 u2 b1 b1")), Known.of(chat("u1 b1")))
    assert twice.plan == CatchUp((bot("b1"),), lost=1)


@pytest.mark.parametrize("client", ["u1 b1 u2 b2", "u1 b1 u9 b9"])
def test_a_policy_may_reseed_or_go_on(client: str) -> None:
    sent, known = history(chat(client)), Known.of(chat("u1 b1" if "u2" in client else "u1 b1 u2 b2"))
    reseeded = reconcile.decide(sent, known, policy=Policy(ahead="reseed", forked="reseed"))
    assert (reseeded.plan, reseeded.restart) == (Reseed(sent), False)
    continued = reconcile.decide(sent, known, policy=Policy(ahead="continue", forked="continue"))
    assert (continued.plan, continued.restart) == (Continue(), True)


@pytest.mark.parametrize("length", [1, 36, 500, 512])
def test_a_derived_user_is_stable_bounded_and_recognisable(length: int) -> None:
    user_id = "x" * length
    leaving = reconcile.history_digest(history(chat("u1 b1")), leaving="c1")
    derived = reconcile.derived_user_id(user_id, leaving)
    assert derived == reconcile.derived_user_id(user_id, leaving)
    assert re.fullmatch(r"x+~r[0-9a-f]{8}", derived)
    assert len(derived) <= reconcile.MAX_USER_ID_CHARACTERS
    assert derived != reconcile.derived_user_id(user_id + "x", leaving)


def test_coming_back_to_a_history_that_was_left_begins_anew() -> None:
    sent = history(chat("u1 b1"))
    first = reconcile.history_digest(sent, leaving="c1")
    assert first == reconcile.history_digest(history(chat("u1 b1")), leaving="c1")
    assert (
        len({first, reconcile.history_digest(sent, leaving="c2"), reconcile.history_digest(sent[:1], leaving="c1")})
        == 3
    )


# Laws

windows = st.none() | st.integers(0, 30)
joints = st.sampled_from(["\n", " ", "\n\n"])


@given(courses, st.booleans(), windows)
def test_a_client_in_step_only_gets_its_new_message_posted(
    course: list[Event], at_once: bool, window: int | None
) -> None:
    world = World(records_at_once=at_once)
    go(world, course)
    decision = world.decide(Policy(ahead="reseed", forked="reseed"), window)
    assert decision.verdict in {Verdict.IN_SYNC, Verdict.WINDOW}
    assert (decision.plan, decision.restart, decision.extra) == (Continue(), False, 0)


@given(courses, st.lists(st.integers(0, 2)), st.booleans(), windows)
def test_so_it_is_when_everybody_repeats_himself(
    course: list[Event], draw: list[int], at_once: bool, window: int | None
) -> None:
    world = World(records_at_once=at_once)
    go(world, course, ["ok", "no", "ok ok"], draw)
    assert isinstance(world.decide(Policy(ahead="reseed", forked="reseed"), window).plan, Continue)


@given(courses, st.booleans(), joints, windows)
def test_so_it_is_when_the_client_joins_the_segments_of_a_reply(
    course: list[Event], in_order: bool, joint: str, window: int | None
) -> None:
    world = World(joint=joint)
    (go_in_order if in_order else go)(world, course)
    assume(in_order or len(world.upstream) <= reconcile.TAIL_MESSAGES)  # else half of a late reply may be forgotten
    assert isinstance(world.decide(Policy(ahead="reseed", forked="reseed"), window).plan, Continue)


@given(st.lists(st.one_of(said, replied, delivered, died), max_size=10), windows)
def test_so_it_is_when_replies_have_died(course: list[Event], window: int | None) -> None:
    world = World()
    go(world, course)
    assume(len(world.upstream) <= reconcile.TAIL_MESSAGES)  # else a late reply may be older than the tail, or unknown
    assume(window is None or any(not message.from_bot for message in world.client[-window:]))
    assert isinstance(world.decide(Policy(ahead="reseed", forked="reseed"), window).plan, Continue)


@given(courses)
def test_a_whole_history_is_no_window(course: list[Event]) -> None:
    world = World()
    go_in_order(world, course)
    assert world.decide().verdict == Verdict.IN_SYNC


@given(courses, st.integers(1, 10))
def test_an_end_of_the_history_is_a_window(course: list[Event], window: int) -> None:
    world = World()
    go_in_order(world, [("say",), *course])
    assume(len(world.client) > window)
    assert world.decide(window=window).verdict == Verdict.WINDOW


aways = st.lists(st.booleans(), min_size=1, max_size=4)
short = st.lists(st.one_of(said, said, replied, delivered), max_size=6)


@given(courses, st.lists(st.booleans(), min_size=1, max_size=20), st.booleans())
def test_a_plan_makes_the_client_s_history_of_the_upstream_s(
    course: list[Event], away: list[bool], takes_user_messages: bool
) -> None:
    world = World()
    go_in_order(world, course)
    before = len(world.upstream)
    extra = [Message(from_bot, world.unique(from_bot)) for from_bot in away]
    world.client += extra
    decision = world.decide(Policy(upstream_takes_user_messages=takes_user_messages))
    assert (decision.verdict, decision.extra) == (Verdict.AHEAD, len(extra))
    assert isinstance(decision.plan, CatchUp)
    world.carry_out(decision)
    if takes_user_messages:
        assert decision.plan.lost == 0
        assert world.upstream == world.client
    else:
        lost = [message for message in extra if not message.from_bot]
        assert decision.plan.lost == len(lost)
        assert world.upstream == [message for message in world.client if message not in lost]
    assert world.upstream[before:] == list(decision.plan.add)


@given(short, aways, st.lists(st.booleans(), max_size=2), st.booleans(), short)
def test_what_was_reconciled_once_is_not_found_again(
    course: list[Event], away: list[bool], later: list[bool], takes_user_messages: bool, rest: list[Event]
) -> None:
    world = World()
    go(world, [("say",), *course])
    if world.open:  # an open turn's message beside another one would read as an edit of it
        world.reply([world.unique(from_bot=True)])
    # A reply that is older than the tail could not be told from one of elsewhere.
    assume(len(world.upstream) + len(away) + len(later) < reconcile.TAIL_MESSAGES)
    world.client += [user(world.unique())]  # replies may be on their way while the user speaks elsewhere
    world.client += [Message(from_bot, world.unique(from_bot)) for from_bot in away]
    world.deliver()
    world.client += [Message(from_bot, world.unique(from_bot)) for from_bot in later]
    decision = world.decide(Policy(upstream_takes_user_messages=takes_user_messages))
    assert decision.verdict == Verdict.AHEAD
    world.carry_out(decision)
    held = [message.text for message in world.upstream]
    assert len(held) == len(set(held))
    world.say(world.unique())
    go(world, rest)
    assume(len(world.upstream) <= reconcile.TAIL_MESSAGES)
    assert isinstance(world.decide(Policy(ahead="reseed", forked="reseed")).plan, Continue)


@given(courses, st.data())
def test_a_history_that_stops_before_an_answered_message_has_forked(course: list[Event], data: st.DataObject) -> None:
    world = World()
    go_in_order(world, [*exchange, *exchange])
    go(world, course)
    spoken = [index for index, message in enumerate(world.client) if not message.from_bot]
    remembered = sum(not message.from_bot for message in world.upstream[-reconcile.TAIL_MESSAGES :])
    assume(remembered > world.unanswered)  # else all that is remembered may be on its way
    stop = data.draw(st.sampled_from(spoken[1 : len(spoken) - world.unanswered]))
    world.client = world.client[:stop]
    if data.draw(st.booleans()):
        world.client += [user(world.unique()), bot(world.unique(from_bot=True))]
    assert world.decide(Policy(forked="reseed")).plan == Reseed(history(world.client))
    decision = world.decide()
    assert (decision.verdict, decision.plan) == (Verdict.FORKED, Continue())
    world.carry_out(decision)
    world.say(world.unique())
    go(world, data.draw(courses))
    assert isinstance(world.decide(Policy(ahead="reseed", forked="reseed")).plan, Continue)


@given(courses, st.data())
def test_an_edited_message_of_the_user_is_seen_within_the_tail(course: list[Event], data: st.DataObject) -> None:
    world = World()
    go(world, course)
    world.deliver_all()
    go_in_order(world, exchange)
    remembered = [m for m in world.upstream[-reconcile.TAIL_MESSAGES :] if not m.from_bot]
    index = world.client.index(data.draw(st.sampled_from(remembered)))
    world.client[index] = user("something else")
    assert world.decide().verdict == Verdict.FORKED


few = st.lists(st.builds(Message, st.booleans(), st.sampled_from(["a", "b"])), max_size=8)


@given(few, few, few, st.integers(0, 3), st.sampled_from([None, 3, 400]))
def test_what_is_older_than_the_horizon_does_not_matter(
    older: list[Message], newer: list[Message], held: list[Message], unanswered: int, count: int | None
) -> None:
    filler = [bot(f"b{number}") for number in range(reconcile.COUNTED)]
    known = Known(reconcile.tail(held), count)
    one, other = (
        reconcile.decide(history([*begin, *filler, *newer]), known, unanswered=unanswered) for begin in ([], older)
    )
    assert one == other


@given(few, few, st.integers(0, 3), st.booleans(), st.booleans())
def test_a_plan_for_any_two_histories_keeps_what_the_client_says_in_order(
    client: list[Message], held: list[Message], unanswered: int, whole: bool, takes_user_messages: bool
) -> None:
    known = Known(reconcile.tail(held), len(held) if whole else None)
    policy = Policy(forked="reseed", upstream_takes_user_messages=takes_user_messages)
    sent = history(client)
    decision = reconcile.decide(sent, known, unanswered=unanswered, policy=policy)
    assert decision == reconcile.decide(sent, known, unanswered=unanswered, policy=policy)
    match decision.plan:
        case CatchUp(add, lost):
            rest = iter(client)
            assert all(message in rest for message in add)
            assert len(add) + lost == decision.extra > 0
            assert decision.restart is (lost > 0)
        case Continue():
            assert decision.extra == 0
            assert decision.verdict in {Verdict.IN_SYNC, Verdict.WINDOW}
        case Reseed(seed):
            assert decision.verdict == Verdict.FORKED
            assert seed == sent
            assert client
        case Create():
            pytest.fail("the conversation is known")


class Untouchable(Utterance):
    """An utterance that nobody may look into."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise AssertionError(name)


@pytest.mark.parametrize("end", ["", "u1 b1", "u1 b1 u2 b2", "u9"])
def test_only_the_end_of_a_long_history_is_read(end: str) -> None:
    filler = history([bot(f"b{number}") for number in range(reconcile.COUNTED)])
    sent = ((Untouchable(from_bot=True, segments=()),) * 10_000) + filler + history(chat(end))
    known = Known(reconcile.tail(chat("u1 b1")), 1_000)
    assert reconcile.decide(sent, known).plan is not None


def test_nothing_is_sought_among_many_empty_utterances() -> None:
    sent = (Untouchable(from_bot=True, segments=()),) * 10 + (Utterance(from_bot=True, segments=()),) * 1_000
    assert reconcile.decide(sent, Known(reconcile.tail(chat("u1 b1")), 1_000)).verdict == Verdict.WINDOW
    assert reconcile.decide(sent, Known("", 1_000)).verdict == Verdict.WINDOW


def test_an_utterance_of_many_segments_is_read_from_its_end_only() -> None:
    flood = Utterance(from_bot=True, segments=tuple(f"b{number}" for number in range(reconcile.COUNTED)))
    known = Known(reconcile.tail(chat("u1")), 400)
    assert reconcile.decide((*history(chat("u1")), flood), known) == reconcile.decide((flood,), known)


@given(st.text(max_size=30), st.text(max_size=10))
def test_a_derived_users_id_leads_back_to_the_clients(user_id: str, leaving: str) -> None:
    assume(reconcile.base_user_id(user_id) == user_id)  # it does not itself look derived
    assert reconcile.base_user_id(reconcile.derived_user_id(user_id, leaving)) == user_id
