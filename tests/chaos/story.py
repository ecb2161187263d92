"""The logs put together: what belongs to whom, and which fault was near."""

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos import texts
from tests.chaos.records import Arrival, Call, Callback, Class, Conversation, Fault, Logs, Request

SLACK_SECONDS = 1.0
"""How far from a fault's times something still counts as near it: effects are noted a little after they happen."""

Pair = tuple[str, str, str]
"""An account, a bot and a user: what has one live conversation."""


@dataclass(frozen=True)
class Story:
    """One run's logs with their indexes; all of them are worked out once."""

    logs: Logs

    @functools.cached_property
    def requests(self) -> Mapping[str, Request]:
        """Every request by its id."""
        return {request.id: request for request in self.logs.requests}

    @functools.cached_property
    def chats(self) -> Mapping[str, Sequence[Request]]:
        """Every client's conversation with its requests, as they were first sent."""
        found: dict[str, list[Request]] = defaultdict(list)
        for request in sorted(self.logs.requests, key=lambda one: one.began):
            found[request.chat].append(request)
        return found

    @functools.cached_property
    def pair_of_chat(self) -> Mapping[str, Pair]:
        """What each client's conversation is upstream."""
        return {name: self.pair(requests[0]) for name, requests in self.chats.items()}

    def pair(self, request: Request) -> Pair:
        """Give what a request's conversation is upstream."""
        return self.logs.accounts[request.key], request.bot, request.user

    @functools.cached_property
    def conversations(self) -> Mapping[str, Conversation]:
        """Every upstream conversation by its id."""
        return {conversation.id: conversation for conversation in self.logs.conversations}

    @functools.cached_property
    def conversations_of(self) -> Mapping[Pair, Sequence[Conversation]]:
        """The upstream conversations of each pair, also those that were deleted."""
        found: dict[Pair, list[Conversation]] = defaultdict(list)
        for one in self.logs.conversations:
            found[one.account, one.bot, one.user].append(one)
        return found

    @functools.cached_property
    def posts(self) -> Mapping[str, Sequence[Call]]:
        """The posts of each request's message that took effect, in their order."""
        found: dict[str, list[Call]] = defaultdict(list)
        for call in self.logs.calls:
            if call.posted and not call.posted[0] and call.took_effect:
                for request_id in texts.ids_in([call.posted[1]]):
                    found[request_id].append(call)
        return found

    @functools.cached_property
    def callbacks(self) -> Mapping[str, Sequence[Callback]]:
        """The callbacks of each upstream conversation, each message once: as it was taken, if it was."""
        found: dict[str, dict[str, Callback]] = defaultdict(dict)
        for callback in self.logs.callbacks:
            known = found[callback.conversation].get(callback.message_id)
            if known is None or known.acknowledged_at is None:
                found[callback.conversation][callback.message_id] = callback
        return {conversation: list(each.values()) for conversation, each in found.items()}

    @functools.cached_property
    def revealing(self) -> Mapping[str, Callback]:
        """What showed first that a message had been missed, by that one's id: one behind it that was called back."""
        found: dict[str, Callback] = {}
        for conversation in self.logs.conversations:
            called = {one.message_id: one for one in self.callbacks.get(conversation.id, ())}
            behind: Callback | None = None
            for message in reversed(conversation.messages):
                callback = called.get(message.id)
                if callback is None:
                    continue
                if callback.acknowledged_at is None:
                    if behind is not None:
                        found[message.id] = behind
                elif behind is None or callback.acknowledged_at < (behind.acknowledged_at or math.inf):
                    behind = callback
        return found

    @functools.cached_property
    def deliveries(self) -> Mapping[str, Sequence[Arrival]]:
        """The attempts of each delivery, as they arrived."""
        found: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in sorted(self.logs.arrivals, key=lambda one: one.at):
            found[arrival.delivery].append(arrival)
        return found

    @functools.cached_property
    def arrivals_of(self) -> Mapping[str, Sequence[Arrival]]:
        """The attempts for each client's conversation, as they arrived."""
        found: dict[str, list[Arrival]] = defaultdict(list)
        for arrivals in self.deliveries.values():
            for arrival in arrivals:
                found[texts.chat_of(arrival.request)].append(arrival)
        return found

    @functools.cached_property
    def delivered(self) -> Mapping[str, Sequence[Sequence[str]]]:
        """What each client's conversation got: the texts of each acknowledged delivery once, in their order."""
        return self._by_chat(self.logs.arrivals)

    @functools.cached_property
    def received(self) -> Mapping[str, Sequence[Sequence[str]]]:
        """The same with what was sent again in the end, and with the dead letters of which nothing came even then."""
        found = {name: list(each) for name, each in self._by_chat([*self.logs.arrivals, *self.logs.redriven]).items()}
        arrived = {one.delivery for one in (*self.logs.arrivals, *self.logs.redriven) if one.acknowledged}
        for letter in self.logs.dead_letters:
            if letter.id not in arrived:
                request_id = letter.webhook.partition("?")[0].rpartition("/")[2]
                found.setdefault(texts.chat_of(request_id), []).append(letter.texts)
        return found

    def near(self, begin: float, end: float, *kinds: Class) -> Sequence[Fault]:
        """Give the faults of these kinds that went on between two moments, or nearly so."""
        return [
            fault
            for fault in self.logs.faults
            if fault.kind in kinds and fault.began - SLACK_SECONDS <= end and fault.ended + SLACK_SECONDS >= begin
        ]

    def flushed(self, begin: float, end: float = math.inf) -> bool:
        """Tell whether the store was emptied between two moments, so that what was pending then may be gone."""
        return bool(self.near(begin, end, Class.FLUSH))

    def is_deleted(self, conversation_id: str) -> bool:
        """Tell whether a conversation was deleted upstream."""
        return any(fault.kind is Class.DELETION and fault.target == conversation_id for fault in self.logs.faults)

    @staticmethod
    def _by_chat(arrivals: Iterable[Arrival]) -> Mapping[str, list[Sequence[str]]]:
        found: dict[str, list[Sequence[str]]] = defaultdict(list)
        seen: set[str] = set()
        for arrival in sorted(arrivals, key=lambda one: one.at):
            if arrival.acknowledged and arrival.delivery not in seen:
                seen.add(arrival.delivery)
                found[texts.chat_of(arrival.request)].append(arrival.texts)
        return found
