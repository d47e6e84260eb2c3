"""Which kernels ran and which died, by machine and build: a JSON file in the user's data folder."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

from ...store import Digest
from ...store.errors import StoreError
from ...store.manifest import canonical
from ..libraries import library_folder
from ..machine_file import MachineFile
from .kernels import Case, Kernels

FILE = "kernels.json"
HEAD = 8192  # bytes of /proc/cpuinfo that describe its first processor
_GPU_DRIVER = Path("/proc/driver/nvidia/version")


class KernelFile:
    """The file at `path`, as far as it is about this machine and this build of llama.cpp.

    Losing it costs a trial. What cannot be written is not kept.
    """

    def __init__(self, path: Path) -> None:
        self._file = MachineFile(path)
        self._machine = identity()
        self._name = str(Digest.of(canonical(self._machine)))

    def read(self) -> dict[Case, str]:
        """How each case ended; "" for one that was survived."""
        with suppress(ValueError, KeyError, TypeError):
            return {Case(row[0], Kernels(*row[1])): str(row[2]) for row in self._file.entry(self._name)["cases"]}
        return {}

    def keep(self, verdicts: Mapping[Case, str]) -> None:
        """Remember these too."""
        self._write({**self.read(), **verdicts})

    def forget(self) -> None:
        """Remember nothing, so that all is tried again."""
        self._write({})

    def _write(self, verdicts: Mapping[Case, str]) -> None:
        rows = [[case.weights, list(astuple(case.kernels)), ended] for case, ended in verdicts.items()]
        with suppress(StoreError):
            self._file.write(self._name, {"machine": self._machine, "cases": sorted(rows, key=repr)})


def identity() -> dict[str, Any]:
    """The build and the processor, as plain data, without loading llama.cpp: its libraries by name, size and time."""
    driver = _GPU_DRIVER.read_text(errors="replace") if _GPU_DRIVER.exists() else ""
    return {
        "libraries": _libraries(),
        "processor": processor_facts(),
        "machine": platform.machine(),
        "gpu_driver": driver,
    }


def _libraries() -> list[list[Any]]:
    found = ((path, path.stat()) for path in sorted(library_folder().glob("lib*")))
    return [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in found]


def processor_facts(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """The lines that say what the first processor is and can do."""
    with suppress(OSError), cpuinfo.open("rb") as file:
        first = file.read(HEAD).decode(errors="replace").partition("\n\n")[0]
        wanted = ("model name", "Model", "Hardware", "flags", "Features", "stepping")
        return [line for line in first.splitlines() if line.partition(":")[0].strip() in wanted]
    return [platform.processor()]
