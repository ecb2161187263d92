"""The story in a terminal: lines that fit its width, with colours where it has them."""

import re
import shutil
import textwrap
from typing import Final

import click

from gateway.demo.story import API_KEY, PATIENCE_SECONDS, REQUEST, Event, Story
from mappings import fates, parity

COLUMNS: Final = (60, 140)
"""Narrower lines would break every word, wider ones are hard to read."""

UNKNOWN_SIZE: Final = (100, 24)
INDENT: Final = " " * 31


def line(event: Event) -> str:
    """Tell one event: when, who, what, and its details below."""
    stamp = click.style(f"{event.at_milliseconds / 1000:8.3f} s", dim=True)
    first, *more = _wrapped(event.what)
    lines = [f"{stamp}  {click.style(f'{event.who:17}', fg='cyan')}  {first}"]
    lines += [INDENT + rest for rest in more]
    lines += [INDENT + click.style(part, dim=True) for detail in event.details for part in _wrapped(detail)]
    return "\n".join(lines)


def introduction(gateway_url: str, sandbox_url: str, upstream: fates.Upstream = "v3") -> str:
    """Say what is about to be seen, and where it runs."""
    title = parity.TITLES[upstream]
    told = f"One request of a V1 client, carried onto {title} and its reply brought back."
    return (
        f"{click.style(told, bold=True)}\n"
        f"gateway {gateway_url} · sandbox, {title} and the webhook in one, {sandbox_url} · store embedded\n"
    )


def conclusion(story: Story) -> str:
    """Say how it ended."""
    if story.acknowledgement["status"] != 200:
        return click.style("\nThe gateway did not take the request.", fg="red")
    if story.delivered_after_seconds is None:
        return click.style(f"\nNo reply came within {PATIENCE_SECONDS} s.", fg="red")
    window = f"{story.request['min_delay']:g} to {story.request['max_delay']:g} s"
    arrived = f"\nThe reply arrived {story.delivered_after_seconds:.2f} s after the request"
    if not story.arrived_in_window:
        return click.style(f"{arrived}: not in its window of {window}.", fg="red")
    segments = len(story.callbacks) or 1  # what is pulled comes in one
    said = f"{segments} segment{'' if segments == 1 else 's'}"
    return click.style(f"{arrived}, in its window of {window}: one delivery of {said}.", fg="green")


def invitation(gateway_url: str, sandbox_url: str, upstream: fates.Upstream = "v3") -> str:
    """Say what can be done while it stays up."""
    held = "what V3 holds" if upstream == "v3" else "ChatBotKit holds"
    page = "/conversations" if upstream == "v3" else "/sandbox/chatbotkit/conversations"
    return f"""
It stays up for more; Ctrl-C ends it.

  the inbox         {sandbox_url}/inbox
  {held:17} {sandbox_url}{page}
  metrics           {gateway_url}/metrics
  another request   curl {gateway_url}/v2/complete \\
                      -H 'Authorization: Bearer {API_KEY}' -H 'Content-Type: application/json' \\
                      -d '{{"bot_id": "{REQUEST["bot_id"]}", "user_id": "you", "message": "Hi",
                           "webhook": "{sandbox_url}/inbox/mine", "min_delay": 1, "max_delay": 2}}'"""


def _wrapped(text: str) -> list[str]:
    """Break a text into lines that fit; a text with a colon in a column of its own goes on below what follows it."""
    columns = min(max(shutil.get_terminal_size(UNKNOWN_SIZE).columns, COLUMNS[0]), COLUMNS[1])
    column = re.match(r"[a-z]+: +", text)
    indent = " " * (len(column[0]) if column else 2)
    return textwrap.wrap(text, columns - len(INDENT), subsequent_indent=indent, break_on_hyphens=False) or [""]
