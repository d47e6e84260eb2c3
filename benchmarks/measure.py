"""Whole processes, timed in turn: the machine's moods fall on both sides alike.

This file also runs by itself, as the process that starts what is measured: what that can do without is imported late.
"""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROUNDS = int(os.environ.get("ROUNDS", "5"))


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process: wall seconds, seconds until its first byte of output, peak resident bytes."""

    seconds: float
    first_byte: float
    peak: int


def timed(command: Sequence[str | Path], **environment: str) -> Run:
    """Run a command to its end; raises RuntimeError when it fails."""
    import subprocess

    # From a small process: Linux counts the memory of the process that starts a command as the command's own peak.
    ran = subprocess.run(
        [sys.executable, "-I", "-S", __file__, *map(str, command)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, first, peak, code = map(float, ran.stdout.split())
    if code:
        raise RuntimeError(f"{command[0]} ended with {code:.0f}")
    return Run(seconds, first, int(peak))


def _measured(command: list[str]) -> tuple[float, float, int, int]:
    began = time.perf_counter()
    reading, writing = os.pipe()
    silent = os.open(os.devnull, os.O_WRONLY)
    redirected = [(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, silent, 2)]
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=redirected)
    os.close(writing)
    os.read(reading, 1)
    first = time.perf_counter() - began
    while os.read(reading, 65536):
        pass
    _, status, usage = os.wait4(pid, 0)
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - began, first, usage.ru_maxrss * unit, os.waitstatus_to_exitcode(status)


def spread(values: Iterable[float], *, unit: str, digits: int = 2) -> str:
    """Median and range."""
    import statistics

    found = sorted(values)
    return f"{statistics.median(found):.{digits}f} {unit} ({found[0]:.{digits}f}-{found[-1]:.{digits}f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Theirs over ours, round by round: above 1 we are faster."""
    return spread([their / our for our, their in zip(ours, theirs, strict=True)], unit="x")


def machine() -> str:
    """What it was measured on."""
    import platform

    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    print(*_measured(sys.argv[1:]))
