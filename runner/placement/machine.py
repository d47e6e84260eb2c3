"""What a machine has free for a model."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..cgroup import ROOT, free_memory
from ..errors import ExtraMissing, LoadFailed
from ..threads import allowed_cores, usable_cores

MIB = 1 << 20
HOST_RESERVE = 256 * MIB  # for the process itself
LEAST_RESERVE, MOST_RESERVE = 256 * MIB, 1024 * MIB  # of a GPU, for what its driver takes


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that llama.cpp can use; memory is in bytes. An integrated one takes it from the host's."""

    name: str
    free: int
    total: int
    integrated: bool = False

    @property
    def room(self) -> int:
        """Bytes that a model may take; the rest is for the driver and whoever draws on it."""
        return max(0, self.free - min(max(self.total // 16, LEAST_RESERVE), MOST_RESERVE))


@dataclass(frozen=True, slots=True)
class Machine:
    """Free bytes of host memory, the cores to compute with (and how many threads at most), the GPUs."""

    free: int
    cores: int
    most_threads: int
    gpus: tuple[Gpu, ...] = ()

    @property
    def room(self) -> int:
        """Bytes of host memory that a model may take."""
        return max(0, self.free - HOST_RESERVE)

    @property
    def used_gpus(self) -> tuple[Gpu, ...]:
        """The GPUs that llama.cpp uses: integrated ones only where there are no others."""
        discrete = tuple(gpu for gpu in self.gpus if not gpu.integrated)
        return discrete or self.gpus


def measured() -> Machine:
    """This machine, now. Without llama-cpp-python it has no GPU."""
    return Machine(free=host_memory(), cores=usable_cores(), most_threads=allowed_cores(), gpus=_gpus())


def host_memory(root: Path = ROOT) -> int:
    """Bytes of memory that can be had without swapping: what the system says, within what it grants."""
    granted = free_memory(root)
    available = _available(root)
    return available if granted is None else min(available, granted)


def _available(root: Path) -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    # Elsewhere the system drops what it can when memory is asked for: what there is counts.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gpus() -> tuple[Gpu, ...]:
    try:
        from ..llama.build import build
    except (ExtraMissing, LoadFailed):
        return ()
    return tuple(
        Gpu(
            name=f"{device.name}: {device.description}",
            free=device.memory_free,
            total=device.memory_total,
            integrated=device.integrated,
        )
        for device in build().devices
    )
