"""A sandbox for clients of the stateful API: an emulator of it, and an inbox for webhooks, on one port.

`run` serves it as a process, `serve` inside a running loop, `create_app` gives the bare application.
"""

from gateway.sandbox.app import create_app
from gateway.sandbox.server import run, serve
from gateway.sandbox.settings import SandboxSettings

__all__ = ["SandboxSettings", "create_app", "run", "serve"]
