"""The sandbox as a process of its own: `python -m tests.chaos.upstream PORT`. Its bots can be interrupted.

It tries its callbacks for about a minute: what gets lost on the way is a fault of its own kind, asked for by name.
"""

import sys
from datetime import timedelta

from gateway import sandbox

SETTINGS = sandbox.SandboxSettings(
    first_segment_after=timedelta(seconds=0.3),
    segment_interval=timedelta(seconds=1),  # the whole seconds of `sent_at` then keep the order of what was said
    webhook_timeout=timedelta(seconds=3),
    webhook_attempts=10,
    webhook_retry_after=timedelta(seconds=0.25),
    journal_items=20_000,
    journal_bytes=256 * 2**20,
)

if __name__ == "__main__":
    sandbox.run("127.0.0.1", int(sys.argv[1]), SETTINGS)
