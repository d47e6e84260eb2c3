"""Whole processes, timed in turn: the machine's moods fall on both sides alike."""

import os
import platform
import statistics
import subprocess
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
    began = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    process.stdout.read(1)
    first = time.perf_counter() - began
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    unit = 1 if platform.system() == "Darwin" else 1024
    return Run(seconds, first, usage.ru_maxrss * unit)


def spread(values: Iterable[float], *, unit: str, digits: int = 2) -> str:
    """Median and range."""
    found = sorted(values)
    return f"{statistics.median(found):.{digits}f} {unit} ({found[0]:.{digits}f}-{found[-1]:.{digits}f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Theirs over ours, round by round: above 1 we are faster."""
    return spread([their / our for our, their in zip(ours, theirs, strict=True)], unit="x")


def machine() -> str:
    """What it was measured on."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
