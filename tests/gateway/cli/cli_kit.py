"""The command line, called as a function where that will do, and as a process where it must be one."""

import os
import subprocess
import sys

from click.testing import CliRunner, Result

from gateway import logs
from gateway.cli import main

SECRET = "a-secret-of-the-tests-long-enough"


def gateway(*arguments: str, typed: str | None = None, **environment: str) -> Result:
    """Call the command."""
    try:
        return CliRunner().invoke(main, arguments, env=environment, input=typed)
    finally:
        logs.configure()


def process(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as its user would."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
