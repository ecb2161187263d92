"""Ports that nobody listens on, and that no outgoing connection is given while a process is between two starts."""

import random
import socket

FIRST, LAST = 15_000, 32_000
"""Below those that systems give to outgoing connections."""


def free_port() -> int:
    """Find a port of loopback."""
    while True:
        port = random.randint(FIRST, LAST)  # not one after the other: tests that run beside these look for some, too
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:  # somebody has it
            continue


def free_ports(count: int) -> list[int]:
    """Find so many of them."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)
