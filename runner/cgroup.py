"""What Linux grants to the control groups of a process, in either version of them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")
_NO_LIMIT = 2**60  # version 1 writes a number of about 2**63 where there is no limit


def granted_cores(root: Path = ROOT) -> float | None:
    """How many cores' time the process may use; None is no limit."""
    quotas = [_quota(folder) for folder in _folders(root, "cpu")]
    return min((quota for quota in quotas if quota), default=None)


def free_memory(root: Path = ROOT) -> int | None:
    """How many bytes more the process may use; None is no limit."""
    free = [_free(folder) for folder in _folders(root, "memory")]
    return min((size for size in free if size is not None), default=None)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The group's own folder and all above it: each may set a limit."""
    mounted = root / "sys/fs/cgroup"
    for controllers, path in _groups(root, controller):
        for base in {mounted / name for name in (controllers, controller if controllers else "")}:
            # Inside a container, the path may be the one that the host sees; the own group is the mount then.
            here = base / path.lstrip("/")
            yield from (folder for folder in (here, *here.parents) if folder == base or base in folder.parents)


def _groups(root: Path, controller: str) -> Iterator[tuple[str, str]]:
    """Controllers ("" in version 2) and path of each group that may hold the controller."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            parts = line.split(":", 2)
            if len(parts) == 3 and (parts[1] == "" or controller in parts[1].split(",")):
                yield parts[1], parts[2]


def _quota(folder: Path) -> float | None:
    said = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
    if len(said) != 2 or not said[0].isdigit() or not said[1].isdigit():
        return None  # "max", or -1
    return int(said[0]) / max(int(said[1]), 1)


def _free(folder: Path) -> int | None:
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        numbers = [*_words(folder / limit), *_words(folder / used)]
        if len(numbers) == 2 and all(number.isdigit() for number in numbers) and int(numbers[0]) < _NO_LIMIT:
            return max(0, int(numbers[0]) - int(numbers[1]) + _reclaimable(folder))
    return None


def _reclaimable(folder: Path) -> int:
    """Pages of files, which count as used until something needs the room."""
    words = _words(folder / "memory.stat")
    found = dict(zip(words[::2], words[1::2], strict=False))
    return sum(int(found.get(f"{kind}_file", 0)) for kind in ("active", "inactive"))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
