"""The journal: what was done to a store, one small object an entry, named by ULID. The bucket's truth.

What an entry says is in entry.py. Nothing is visible before its entry.
"""

import json
import time
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from . import ulid
from .backends import Backend, Stat
from .entry import MOST_AHEAD, Entry, Skipped
from .errors import KeyNotFound, Refused, Unreachable
from .layout import JOURNAL, journal_key
from .manifest import canonical

OVERLAP = 15 * 60  # seconds by which a reader looks back, for entries that arrive late
_READERS = 16
_LINES = 4  # connections over which many are read together
_WORTH_IT = 32  # entries that are read together; fewer come as fast one by one
_AT_ONCE = 2000  # entries that wait to be read, of however many
_TOLERANCE = 60.0  # seconds between an object's age and its store's clock that are left alone
_ATTEMPTS = 4


class Journal:
    """The entries of one bucket. `writer` is the backend that does not try again by itself."""

    def __init__(self, backend: Backend, *, writer: Backend | None = None) -> None:
        self._backend = backend
        self._writer = writer or backend
        self._latest = ""
        self._ahead: float | None = None  # seconds by which objects are younger than the clock says

    def clock(self) -> float:
        """The store's time, in seconds since 1970, as its objects' ages tell it once an entry was written."""
        return self._backend.clock() + (self._ahead or 0.0)

    def saw(self, name: str) -> None:
        """Take note of an entry that was seen before: those to come are newer."""
        self._latest = max(self._latest, name)

    def read(self, *, seen: Container[str], since: float | None = None, first: str = "") -> Iterator[Entry | Skipped]:
        """The entries whose ULID is not in `seen`, oldest first, from the moment `since` or all.

        `first` is the ULID of the store's first entry, for who reads from `since`.
        """
        after = journal_key(ulid.lowest(since)) if since is not None else ""
        believed = ulid.lowest(self.clock() + MOST_AHEAD)
        new: list[Stat] = []
        for stat in self._backend.list(JOURNAL, after=after):
            name = _ulid_of(stat.key)
            if not ulid.valid(name):
                yield Skipped(stat.key, "not named by a ULID")
                continue
            first = first or name
            # A clock that runs ahead could otherwise hide every later entry behind its own.
            if name < believed:
                self.saw(name)
            if name not in seen:
                new.append(stat)
        load = partial(self._load, first=first)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="journal") as threads:
            for start in range(0, len(new), _AT_ONCE):
                some = new[start : start + _AT_ONCE]
                yield from threads.map(load, some, self._together(some, threads))

    def holds(self, name: str) -> bool:
        """Whether the entry of this ULID is there. None is ever removed: one that is gone was another journal's."""
        try:
            return self._backend.stat(journal_key(name)).size > 0
        except KeyNotFound:
            return False

    def append(self, document: dict[str, Any]) -> Entry:
        """Write an entry, newer than every valid one seen."""
        data, before, began = canonical(document), self._latest, self._backend.clock()
        entry = self._write(document, data)
        if self._ahead is None:
            self._ahead = self._seconds_ahead(entry, began)
            if self._ahead:
                # What is named by a wrong clock holds bytes for too long, or comes too late.
                misnamed, self._latest = entry, before
                entry = self._write(document, data)
                with suppress(Refused):
                    self._backend.delete(journal_key(misnamed.ulid))
        return entry

    def _write(self, document: dict[str, Any], data: bytes) -> Entry:
        for attempt in range(_ATTEMPTS):
            # Each attempt has a name of its own moment: an entry that lands late must not look early.
            self._latest = ulid.mint(self.clock(), after=self._latest)
            try:
                self._writer.write(journal_key(self._latest), [data], size=len(data))
                break
            except Unreachable:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(2.0**attempt / 4)
        return Entry(self._latest, document)

    def _seconds_ahead(self, entry: Entry, began: float) -> float:
        """By how much the store's objects are younger than its clock says; 0 where the two agree well enough."""
        modified, now = self._backend.stat(journal_key(entry.ulid)).modified, self._backend.clock()
        # Writing may have taken long: nothing is wrong with a date between its beginning and now.
        ahead = modified - max(min(modified, now), began)
        return ahead if abs(ahead) > _TOLERANCE else 0.0

    def _together(self, stats: list[Stat], threads: ThreadPoolExecutor) -> list[bytes | None]:
        """What the bucket gives of many objects at once, if it is one that does; None for what it does not."""
        read = getattr(self._writer, "read_together", None)
        if read is None or len(stats) < _WORTH_IT:
            return [None] * len(stats)
        share = -(-len(stats) // _LINES)
        shares = [stats[start : start + share] for start in range(0, len(stats), share)]
        return [data for found in threads.map(read, shares) for data in found]

    def _load(self, stat: Stat, data: bytes | None, *, first: str) -> Entry | Skipped:
        try:
            document = json.loads(b"".join(self._backend.read(stat.key)) if data is None else data)
        except (ValueError, RecursionError, KeyNotFound):
            # What came together with others may not be what it should be: by itself it is looked at once more.
            return Skipped(stat.key, "not JSON") if data is None else self._load(stat, None, first=first)
        if not isinstance(document, dict):
            return Skipped(stat.key, "not a JSON object")
        return Entry(_ulid_of(stat.key), document).dated(stat.modified, first=first)


def _ulid_of(key: str) -> str:
    name, dot, ending = key.removeprefix(JOURNAL).partition(".")
    return name if dot and ending == "json" else ""
