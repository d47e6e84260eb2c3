"""Which machine figures were measured on: its processor, cores, GPUs, and the llama.cpp that it was built with."""

import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...store import Digest
from ...store.manifest import canonical
from ..llama.build import build
from ..receipts.build_facts import BuildFacts
from ..threads import allowed_cores, usable_cores


def identity() -> dict[str, Any]:
    """What must be the same for a figure to hold, as plain data."""
    facts = BuildFacts.of(build()).document()
    # A release of llstore changes neither the machine nor llama.cpp.
    del facts["llstore"]
    return {**facts, "processor": processor(), "cores": [usable_cores(), allowed_cores()]}


def key(machine: dict[str, Any]) -> str:
    """A name for a machine."""
    return str(Digest.of(canonical(machine)))


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's model as the system calls it."""
    with suppress(OSError):
        for line in cpuinfo.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model", "Hardware"):
                return value.strip()
    return platform.processor() or platform.machine()
