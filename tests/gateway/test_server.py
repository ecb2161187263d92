"""How a serving process is set up."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from gateway import server
server.keep_freed_memory()

def bodies(number):
    for _ in range(number):
        pieces = [bytes(200_000) for _ in range(5)]
        b"".join(pieces)

bodies(10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bodies(100)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="options of glibc's")
def test_memory_of_long_bodies_is_not_fetched_anew_for_each() -> None:
    fetched = int(subprocess.check_output([sys.executable, "-c", FAULTS]))
    assert fetched < 100  # without the options 500 and more
