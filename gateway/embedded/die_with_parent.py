"""Becomes another program, which the kernel ends when the process that started it is gone (Linux).

Run as a script: `python -I -S die_with_parent.py PARENT_PID PROGRAM ARGUMENT...`. It stands between the gateway and
the embedded server because the request must be made in the child: `preexec_fn` would run Python between fork and
exec of a process with threads, where a lock that another thread held at the fork is never released. A fresh
interpreter that replaces itself costs 8 ms instead, keeps its process id and its open files, and has no such hazard.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_CANNOT_RUN = 127


def main(parent: int, command: list[str]) -> None:
    """Ask for SIGTERM at the death of the thread that started this process, then become `command`."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the kernel was asked, so no signal will come
        sys.exit("the parent is gone already")
    try:
        os.execv(command[0], command)  # noqa: S606 — becoming the given program is the purpose
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        sys.exit(_CANNOT_RUN)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
