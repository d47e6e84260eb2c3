"""A snapshot's numbers as families of samples, without names of anybody's library."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from ...store.backends.count import Totals
from ...store.cache.counters import Counters
from .snapshot import CacheSnapshot, EngineSnapshot, Snapshot

_VERBS = ("stat", "read", "write", "list", "delete", "clock")
_CACHE = {
    "hits": "Blobs that were asked for and were in the cache.",
    "misses": "Blobs that were not.",
    "evictions": "Blobs that were removed to make room.",
    "bytes_saved": "Bytes that came from the cache.",
    "bytes_fetched": "Bytes that came from the store.",
    "bytes_evicted": "Bytes that were removed to make room.",
}


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: the values of its labels and its number, for each sample. `counts` is whether it only ever grows."""

    name: str
    text: str
    labels: tuple[str, ...]
    samples: tuple[tuple[tuple[str, ...], float], ...]
    counts: bool = False


def families(snapshot: Snapshot) -> Iterator[Family]:
    """All that a snapshot has."""
    if snapshot.engines:
        yield from _engines(snapshot.engines)
    if snapshot.cache:
        yield from _cache(snapshot.cache)
    if snapshot.store:
        yield from _store(snapshot.store)


def _engines(engines: tuple[EngineSnapshot, ...]) -> Iterator[Family]:
    def gauge(name: str, text: str, values: list[float]) -> Family:
        rows = zip(engines, values, strict=True)
        return Family(name, text, ("model_name",), tuple(((engine.model,), value) for engine, value in rows))

    yield gauge("num_requests_running", "Requests that have a slot.", [engine.running for engine in engines])
    yield gauge("num_requests_waiting", "Requests that wait for one.", [engine.waiting for engine in engines])
    yield gauge("kv_cache_usage_perc", "Part of the KV cache in use, 0 to 1.", [engine.kv_usage for engine in engines])


def _cache(cache: CacheSnapshot) -> Iterator[Family]:
    for field in fields(Counters):
        value = getattr(cache.counters, field.name)
        yield Family(f"cache_{field.name}", _CACHE[field.name], (), (((), value),), counts=True)
    yield Family("cache_used_bytes", "Bytes that the cache holds.", (), (((), cache.used),))
    yield Family("cache_budget_bytes", "Bytes that it may hold.", (), (((), cache.budget),))


def _store(totals: Totals) -> Iterator[Family]:
    requests = tuple(((verb,), float(getattr(totals, verb))) for verb in _VERBS)
    yield Family("store_requests", "What was asked of the store.", ("verb",), requests, counts=True)
    sizes = ((("read",), float(totals.bytes_read)), (("write",), float(totals.bytes_written)))
    yield Family("store_bytes", "Bytes from the store and to it.", ("verb",), sizes, counts=True)
