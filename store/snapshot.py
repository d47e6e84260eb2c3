"""A snapshot: all journal entries over a day old in one object. A short first sync, and a mirror's only index.

Gzip of JSON lines (docs/bucket-format.md). The first is `{"format": 1, "until": ULID, "entries": n}`; the others are
entries in the order of their ULIDs, each with its `ulid`, and with its `moment` where that is another. Two machines
that make it on one day make the same bytes.
"""

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import ulid
from .entry import KEEPS, Entry
from .errors import Damaged, FormatTooNew
from .layout import FORMAT
from .manifest import canonical

DAY = 24 * 60 * 60.0
INTENT_SECONDS = 7 * DAY  # how long an intent holds its blobs
_MOST_LINE = 64 * 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The head of a snapshot: it has the entries with a ULID less than `until`."""

    until: str
    entries: int


def boundary(now: float) -> str:
    """Where a snapshot made at `now` (the store's seconds since 1970) ends: the last midnight that is a day ago."""
    return ulid.lowest((now - DAY) // DAY * DAY)


def encode(entries: Iterable[Entry], *, until: str) -> bytes:
    """The snapshot of `entries`, which are in order and before `until`."""
    lines = [canonical({**_names(entry), **_kept(entry, until)}) for entry in entries]
    head = canonical({"format": FORMAT, "until": until, "entries": len(lines)})
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=out, mtime=0) as file:
        for line in (head, *lines):
            file.write(line + b"\n")
    return out.getvalue()


def decode(data: bytes) -> tuple[Snapshot, Iterator[Entry]]:
    """The head and the entries, read as they are asked for; raises Damaged or FormatTooNew."""
    lines = _lines(data)
    head = _head(next(lines, {}))
    return head, _entries(lines, head)


def _kept(entry: Entry, until: str) -> dict[str, Any]:
    # An old intent holds nothing any more: that there was one is all that a reader needs to know.
    lapsed = ulid.seconds(entry.ulid) < ulid.seconds(until) - INTENT_SECONDS
    short = {"op": entry.op} if entry.op == "sweep" or (entry.op == "intent" and lapsed) else entry.document
    return {**short, KEEPS: entry.document[KEEPS]} if KEEPS in entry.document else short


def _names(entry: Entry) -> dict[str, str]:
    return {"ulid": entry.ulid} | ({"moment": entry.moment} if entry.moment != entry.ulid else {})


def _head(document: dict[str, Any]) -> Snapshot:
    version, until, count = (document.get(key) for key in ("format", "until", "entries"))
    if isinstance(version, int) and version > FORMAT:
        raise FormatTooNew(
            "the store's snapshot was written by a later llstore", hint="upgrade: pip install -U llstore"
        )
    if version != FORMAT or not isinstance(until, str) or not ulid.valid(until) or not isinstance(count, int):
        raise Damaged("the store's snapshot has no head")
    return Snapshot(until, count)


def _entries(lines: Iterator[dict[str, Any]], head: Snapshot) -> Iterator[Entry]:
    count = 0
    for document in lines:
        name, moment = document.pop("ulid", None), document.pop("moment", "")
        if not isinstance(name, str) or not ulid.valid(name) or name >= head.until or not isinstance(moment, str):
            raise Damaged("the store's snapshot holds something that is no entry of its time")
        count += 1
        yield Entry(name, document, moment)
    if count != head.entries:
        raise Damaged(f"the store's snapshot holds {count} of its {head.entries} entries")


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while line := file.readline(_MOST_LINE):
                document = json.loads(line)
                if not isinstance(document, dict):
                    raise ValueError("no object")
                yield document
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise Damaged(f"the store's snapshot is not one: {error}") from error
