"""Memory as on a machine that has run for long: what no program uses is full of cached pages."""

import os
from pathlib import Path

_ENOUGH = 300_000_000
_STEP = 16_000_000
_FREE = Path("/proc/meminfo")


class PageCache:
    """Fills free memory by reading holes from a file at `path`, so that every run begins with none.

    On a virtual machine, memory that is free for two seconds is given back to the host, and is then ten times as dear
    to write to: without this, the figures say who ran how long after whom.
    """

    def __init__(self, path: Path) -> None:
        self._size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._at = 0
        with path.open("wb") as file:
            file.truncate(self._size)
        self._file = path.open("rb", buffering=0)

    def fill(self) -> None:
        """Write what waits to be written, then cache holes until next to nothing is free; on Linux only."""
        os.sync()
        buffer = bytearray(_STEP)
        for _ in range(self._size // _STEP):
            if _free() < _ENOUGH:
                return
            self._file.seek(self._at)
            self._at = (self._at + self._file.readinto(buffer)) % self._size


def _free() -> int:
    if not _FREE.exists():
        return 0
    lines = dict(line.split(":") for line in _FREE.read_text().splitlines())
    return int(lines["MemFree"].split()[0]) * 1024
