"""Faults on demand: rules that say which requests are answered wrongly, late or not at all."""

import fnmatch
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field


class Rule(BaseModel):
    """A rule that holds for `times` matching events (null: until it is taken away), after `skip` others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    skip: int = Field(default=0, ge=0)
    times: int | None = Field(default=1, ge=1)


def is_meant(wanted_method: str, glob: str, method: str, path: str) -> bool:
    """Tell whether a request is one of a method ("*" for any) to a path that the glob matches."""
    return wanted_method in {"*", method} and fnmatch.fnmatchcase(path, glob)


R = TypeVar("R", bound=Rule)


class Rules(Generic[R]):
    """Rules in force. The first that matches an event and is not used up takes it."""

    def __init__(self) -> None:
        self._armed: list[_Armed[R]] = []

    def arm(self, rules: Iterable[R]) -> None:
        """Replace all rules."""
        self._armed = [_Armed(rule) for rule in rules]

    def take(self, matches: Callable[[R], bool]) -> R | None:
        """Return the rule that befalls an event, and count it."""
        for armed in self._armed:
            if matches(armed.rule) and armed.fires():
                return armed.rule
        return None

    def report(self) -> list[dict[str, Any]]:
        """Return each rule with how often it was `used`."""
        return [armed.rule.model_dump(mode="json") | {"used": armed.used} for armed in self._armed]


class _Armed(Generic[R]):
    def __init__(self, rule: R) -> None:
        self.rule = rule
        self.seen = 0
        self.used = 0

    def fires(self) -> bool:
        if self.rule.times is not None and self.used >= self.rule.times:
            return False
        self.seen += 1
        if self.seen <= self.rule.skip:
            return False
        self.used += 1
        return True


_Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
_Visible = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$")]


class RequestFault(Rule):
    """What befalls requests to the API or to the inbox.

    `path` is a glob over the whole path, in which `*` also matches slashes. With `when` "after" the request
    has its effect first and only the answer suffers; with "before" it has none, except that a hang ends in
    the normal answer.
    """

    method: str = "*"
    path: str = "*/api/*"
    when: Literal["before", "after"] = "before"
    action: Literal["answer", "drop", "hang"] = "answer"
    """answer: with the fields below; drop: close the connection without a byte; hang: for `seconds`."""
    status: int = Field(default=500, ge=200, le=599)
    body: Literal["json", "html", "truncated", "empty", "huge"] = "json"
    """json: an error body; html: a proxy's error page; truncated: JSON cut off by the end of the connection;
    huge: `size` bytes of text."""
    headers: dict[_Token, _Visible] = {}
    """Headers of the answer, such as Retry-After or Location."""
    seconds: float = Field(default=60.0, ge=0, le=3600)
    size: int = Field(default=10 * 2**20, ge=0, le=2**30)

    def matches(self, method: str, path: str) -> bool:
        """Tell whether a request is meant."""
        return is_meant(self.method, self.path, method, path)

    def label(self) -> str:
        """Return the fault in a word or two, for the records."""
        what = {"answer": f"{self.status} {self.body}", "drop": "drop", "hang": f"hang {self.seconds:g} s"}
        return f"{what[self.action]} {self.when} effect"


class RequestFaults(BaseModel):
    """All rules for requests; they replace the ones before."""

    model_config = ConfigDict(extra="forbid")

    rules: list[RequestFault]
