"""The journal: what was done to a store, one small object an entry, named by ULID. The bucket's truth.

An entry is `{"op": …}` with what the operation needs (docs/bucket-format.md). Nothing is visible before its entry.
"""

import json
import time
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from . import ulid
from .backends import Backend, Stat
from .digest import Digest
from .errors import KeyNotFound, Unreachable
from .layout import JOURNAL, journal_key
from .manifest import Manifest, canonical
from .ref import Name

MOST_AHEAD = 10 * 60  # seconds an entry's name may be ahead of its object's age
SWEEP_SECONDS = 10 * 60  # how long a sweep may delete
OVERLAP = 15 * 60  # seconds by which a reader looks back, for entries that arrive late
_READERS = 16
_ATTEMPTS = 4
_LATEST = 2.0**48 / 1000  # seconds: the last moment a ULID can name


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal entry: its ULID and its document."""

    ulid: str
    document: dict[str, Any]

    @property
    def op(self) -> str:
        """What was done."""
        return str(self.document.get("op"))


@dataclass(frozen=True, slots=True)
class Skipped:
    """An object under journal/ that no reader takes for an entry."""

    key: str
    reason: str


def put_entry(manifest: Manifest) -> dict[str, Any]:
    """A model is in the store."""
    return {"op": "put", "model": str(manifest.model), "manifest": manifest.document()}


def tag_entry(name: Name, model: Digest) -> dict[str, Any]:
    """A name points to a model."""
    return {"op": "tag", "name": str(name), "model": str(model)}


def label_entry(model: Digest, labels: dict[str, str]) -> dict[str, Any]:
    """A model has labels; a key given again has its new value."""
    return {"op": "label", "model": str(model), "labels": labels}


def intent_entry(digests: Iterable[Digest]) -> dict[str, Any]:
    """Someone is about to rely on these blobs: no sweep may take them for 7 days."""
    return {"op": "intent", "digests": [str(digest) for digest in digests]}


class Journal:
    """The entries of one bucket. `writer` is the backend that does not try again by itself."""

    def __init__(self, backend: Backend, *, writer: Backend | None = None) -> None:
        self._backend = backend
        self._writer = writer or backend
        self._latest = ""

    def read(self, *, seen: Container[str], since: float | None = None) -> Iterator[Entry | Skipped]:
        """The entries whose ULID is not in `seen`, oldest first, from the moment `since` or all."""
        after = journal_key(ulid.lowest(since)) if since is not None else ""
        new: list[Stat] = []
        for stat in self._backend.list(JOURNAL, after=after):
            name = _ulid_of(stat.key)
            reason = _refusal(name, stat)
            if reason:
                yield Skipped(stat.key, reason)
                continue
            self._latest = max(self._latest, name)
            if name not in seen:
                new.append(stat)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="journal") as threads:
            yield from threads.map(self._load, new)

    def holds(self, name: str) -> bool:
        """Whether the entry of this ULID is there. None is ever removed: one that is gone was another journal's."""
        try:
            return self._backend.stat(journal_key(name)).size > 0
        except KeyNotFound:
            return False

    def append(self, document: dict[str, Any]) -> Entry:
        """Write an entry, newer than every valid one seen."""
        data = canonical(document)
        for attempt in range(_ATTEMPTS):
            # Each attempt has a name of its own moment: an entry that lands late must not look early.
            self._latest = ulid.mint(self._backend.clock(), after=self._latest)
            try:
                self._writer.write(journal_key(self._latest), [data], size=len(data))
                break
            except Unreachable:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(2.0**attempt / 4)
        return Entry(self._latest, document)

    def swept_until(self, digest: Digest) -> float:
        """When the last open sweep that may delete `digest` ends, in the store's seconds; 0 when none is open."""
        now = self._backend.clock()
        recent = self.read(seen=(), since=now - SWEEP_SECONDS - OVERLAP)
        ends = [_sweep_end(entry.document, digest) for entry in recent if isinstance(entry, Entry)]
        return max((end for end in ends if end > now), default=0.0)

    def _load(self, stat: Stat) -> Entry | Skipped:
        try:
            document = json.loads(b"".join(self._backend.read(stat.key)))
        except (ValueError, RecursionError, KeyNotFound):
            return Skipped(stat.key, "is not JSON")
        if not isinstance(document, dict):
            return Skipped(stat.key, "is not a JSON object")
        return Entry(_ulid_of(stat.key), document)


def _ulid_of(key: str) -> str:
    name, dot, ending = key.removeprefix(JOURNAL).partition(".")
    return name if dot and ending == "json" else ""


def _sweep_end(document: dict[str, Any], digest: Digest) -> float:
    # What is not a sweep of this digest, or cannot be understood, ends at 0: nobody deletes by it either.
    digests, until = document.get("digests"), document.get("until")
    if document.get("op") != "sweep" or not isinstance(digests, list) or str(digest) not in digests:
        return 0.0
    return float(until) if isinstance(until, int | float) and 0 < until < _LATEST else 0.0


def _refusal(name: str, stat: Stat) -> str:
    # A clock that runs ahead could otherwise hide every later entry behind its own.
    if not ulid.valid(name):
        return "is not named by a ULID"
    if ulid.seconds(name) > stat.modified + MOST_AHEAD:
        return "has a name from the future"
    return ""
