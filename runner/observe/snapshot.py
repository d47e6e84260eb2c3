"""What others hold at the moment of a scrape, as plain numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ...store.backends.count import Totals
from ...store.cache.counters import Counters


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """An engine's requests, and how much of its KV cache they hold, 0 to 1."""

    model: str
    running: int
    waiting: int
    kv_usage: float

    @classmethod
    def of(cls, model: str, stats: Mapping[str, float]) -> Self:
        """From an engine's numbers by name, as EngineProcess.stats gives them; one that is not there is 0."""
        room = stats.get("kv_room", 0)
        return cls(
            model=model,
            running=int(stats.get("running", 0)),
            waiting=int(stats.get("waiting", 0)),
            kv_usage=stats.get("kv_tokens", 0) / room if room else 0.0,
        )


@dataclass(frozen=True, slots=True)
class CacheSnapshot:
    """This machine's cache of blobs: its counters, the bytes it holds and the bytes it may hold."""

    counters: Counters
    used: int
    budget: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it. What is None is not shown; `store` counts what was asked of the store's bucket."""

    engines: tuple[EngineSnapshot, ...] = ()
    cache: CacheSnapshot | None = None
    store: Totals | None = None
