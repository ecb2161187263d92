"""The machine that the figures are of: its cores, its versions, and what else it was doing meanwhile."""

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0))
SUBJECT_CORE = CORES[0]
OTHER_CORE = CORES[-1]
"""Everything that is not measured runs here; on a machine with one core it is the same one."""

_LIBRARIES = ("uvicorn", "starlette", "aiohttp", "redis", "msgspec", "pydantic", "uvloop", "httpx")


def describe(binaries: dict[str, str]) -> list[str]:
    """Say in a few lines what the run was made on; `binaries` are commands whose versions belong there too."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return [
        f"{model[1] if model else platform.machine()}, {len(CORES)} cores of it",
        f"{int(memory[1]) / 2**20 if memory else 0:.0f} GiB, Linux {platform.release()}",
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
        ", ".join(_version(command, flag) for command, flag in binaries.items() if shutil.which(command)),
    ]


def busy_seconds() -> float:
    """Give the processor time that the whole machine has used, all cores together."""
    ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, soft, *_ = map(int, ticks)
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def _version(command: str, flag: str) -> str:
    told = subprocess.run([command, flag], capture_output=True, text=True, check=False)
    first = (told.stdout + told.stderr).strip().splitlines()[:1]
    return first[0][:60] if first else Path(command).name
