"""What tenants have used, by model and day: counted in memory, added up in the key file."""

import threading
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a tenant used of a model (its digest, as text) on a UTC day (2026-01-31).

    `reused_tokens` of the `prompt_tokens` were in the KV cache already and were not computed again.
    """

    tenant: str
    model: str
    day: str
    requests: int = 1
    prompt_tokens: int = 0
    reused_tokens: int = 0
    completion_tokens: int = 0


class Adds(Protocol):
    """Where rows are added up: a KeyFile."""

    def add_usage(self, rows: Iterable[UsageRow]) -> None:
        """Add all of the rows, or raise and add none."""


class UsageTally:
    """Counts since the last flush. Threads may share it; a process that is lost loses what it did not flush."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, str], list[int]] = {}

    def add(self, row: UsageRow) -> None:
        """Count it."""
        tenant, model, day, *numbers = astuple(row)
        with self._lock:
            counted = self._counts.setdefault((tenant, model, day), [0] * len(numbers))
            counted[:] = [old + new for old, new in zip(counted, numbers, strict=True)]

    def rows(self) -> list[UsageRow]:
        """What was not flushed yet."""
        with self._lock:
            return _rows(self._counts)

    def flush(self, file: Adds) -> None:
        """Add what was counted to the file's; when that raises, it is still counted here."""
        with self._lock:
            taken, self._counts = self._counts, {}
        try:
            if taken:
                file.add_usage(_rows(taken))
        except Exception:
            for row in _rows(taken):
                self.add(row)
            raise


def day_of(now: float) -> str:
    """The UTC day of a time in seconds since 1970, as text: 2026-01-31."""
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def _rows(counts: dict[tuple[str, str, str], list[int]]) -> list[UsageRow]:
    return [UsageRow(*key, *numbers) for key, numbers in counts.items()]
