"""What the cache was worth: hits, misses, and the bytes that did not have to travel. Losing counts harms nobody."""

from dataclasses import dataclass, fields
from typing import TypedDict, Unpack

from .db import CacheDb, Statement

_ADD = "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"


class Counts(TypedDict, total=False):
    """What may be counted; see Counters."""

    hits: int
    misses: int
    evictions: int
    bytes_saved: int
    bytes_fetched: int
    bytes_evicted: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts since cache.db was made. `bytes_saved` came from the cache, `bytes_fetched` from the store."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    bytes_saved: int = 0
    bytes_fetched: int = 0
    bytes_evicted: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Hits among all requests, 0 to 1; None when there were none."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


_NAMES = tuple(field.name for field in fields(Counters))


class Tally:
    """Counts in memory, until a write to cache.db takes them along."""

    def __init__(self, db: CacheDb) -> None:
        self._db = db
        self._pending = dict.fromkeys(_NAMES, 0)

    def add(self, **counts: Unpack[Counts]) -> None:
        """Count."""
        for name in _NAMES:
            self._pending[name] += counts.get(name, 0)  # type: ignore[operator]

    def statements(self) -> tuple[Statement, ...]:
        """What would write the counts that wait."""
        return tuple((_ADD, (name, value)) for name, value in self._pending.items() if value)

    def written(self) -> None:
        """They were: none waits any more."""
        self._pending = dict.fromkeys(_NAMES, 0)

    def flush(self) -> None:
        """Write the counts that wait; those that cannot be written are lost."""
        if statements := self.statements():
            self._db.write(*statements)
        self.written()

    def counters(self) -> Counters:
        """All counts, of all processes."""
        self.flush()
        rows = self._db.read("SELECT name, value FROM counters")
        return Counters(**{str(name): value for name, value in rows if name in _NAMES and isinstance(value, int)})
