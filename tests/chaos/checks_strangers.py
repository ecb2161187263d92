"""What must hold against whoever does not belong: forgers, readers of logs, and what is left behind."""

from tests.chaos import texts
from tests.chaos.oracle import Finding, invariant
from tests.chaos.records import Class
from tests.chaos.story import Story


@invariant("I16", "a forged callback changes nothing")
def never_fooled(story: Story, finding: Finding) -> None:
    """Look at how forged callbacks were answered, and for their texts in what clients got."""
    trouble = (Class.PROCESS, Class.STORE, Class.DRAIN)
    for forgery in story.logs.forgeries:
        near = story.near(forgery.sent_at, forgery.ended_at, *trouble)
        # A conversation that the store has lost is unknown to it, and its callbacks are kept until it is known.
        flushed = any(one.kind is Class.FLUSH and one.began <= forgery.ended_at for one in story.logs.faults)
        excuse = (near and forgery.status in {None, 503}) or (flushed and forgery.kind.startswith("another"))
        finding.hold(forgery.status == 404, f"{forgery.kind}: {forgery.status}", excuse=excuse)
    for arrival in (*story.logs.arrivals, *story.logs.redriven):
        forged = any(text.startswith(texts.BOT_FORGED) for text in arrival.texts)
        finding.hold(not forged, f"{arrival.request} got a forged segment")


@invariant("I18", "an API key never leaves for a webhook, a log line, a metric or the store")
def nothing_leaked(story: Story, finding: Finding) -> None:
    """Look for keys in what receivers got, and at what the search of logs, metrics and store has found."""
    for arrival in (*story.logs.arrivals, *story.logs.redriven):
        seen = arrival.body.decode(errors="replace") + arrival.headers + arrival.query
        finding.hold(not any(key in seen for key in story.logs.accounts), f"{arrival.request} got a key")
    for leak in story.logs.leaks:
        finding.hold(False, leak)


@invariant("I24", "at rest every key of the store is declared, and has a time to live unless it is permanent")
def nothing_left(story: Story, finding: Finding) -> None:
    """Look at the keys that are neither."""
    finding.hold(not story.logs.undeclared_keys, f"undeclared: {', '.join(story.logs.undeclared_keys[:5])}")
