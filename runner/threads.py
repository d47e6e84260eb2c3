"""How many threads may compute here: the cores that a process may run on, and the share of them that it is granted."""

import os
from pathlib import Path

from .cgroup import granted_cores

_TOPOLOGY = Path("/sys/devices/system/cpu")


def usable_cores() -> int:
    """How many threads compute fastest as a rule: one on each core, where two hardware threads share one."""
    processors = _processors()
    return _granted(len({_siblings(_TOPOLOGY, processor) for processor in processors}) if processors else _all())


def allowed_cores() -> int:
    """How many threads at most are never in each other's way: one on each hardware thread."""
    return _granted(len(_processors()) or _all())


def _processors() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _all() -> int:
    return os.cpu_count() or 1


def _granted(cores: int) -> int:
    granted = granted_cores()
    # A share of a core more is not worth a thread that waits for its turn while the others spin.
    return cores if granted is None else max(1, min(cores, int(granted)))


def _siblings(topology: Path, processor: int) -> str:
    try:
        return (topology / f"cpu{processor}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(processor)
