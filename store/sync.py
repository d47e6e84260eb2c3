"""Sync: a catalog brought up to its bucket's journal, reading only what is new."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from . import snapshot, ulid
from .bucket import Bucket
from .entry import MOST_AHEAD, Entry, Skipped
from .errors import Damaged, FormatTooNew, KeyNotFound
from .journal import OVERLAP
from .layout import SNAPSHOT_KEY

if TYPE_CHECKING:
    from .catalog.catalog import Catalog

T = TypeVar("T")

_AT_ONCE = 2000  # entries that are taken in together; a sync that is cut off goes on after them
_MOST_REMARKS = 2  # about objects in the journal that are no entries
_WHOLE = "listed_whole"  # mark: when the journal was last listed from its start, in the store's seconds
_LISTED = "listed"  # mark: when it was last listed at all
_WORTH_NOTING = 60.0  # seconds
_SNAPSHOT = "snapshot"  # mark: where the snapshot ends that a mirror's catalog was made from


def sync(bucket: Bucket, catalog: "Catalog", *, whole: bool = False, snapshots: bool = True) -> list[str]:
    """Take in what is new, or look through the `whole` journal; returns a line for each thing that was left out."""
    if not bucket.source.properties.listable:
        return _from_mirror(bucket, catalog)
    remarks: list[str] = []
    now = bucket.journal.clock()
    believed = ulid.lowest(now + MOST_AHEAD)
    latest = catalog.latest(before=believed)
    # A bucket that was emptied and begun anew keeps its URL; what this catalog knows is then of another store.
    if latest and not bucket.journal.holds(latest):
        catalog.apply((), anew=True)
        latest = ""
    if not latest and snapshots:
        remarks += _from_snapshot(bucket, catalog, now=now)
        latest = catalog.latest(before=believed)
    bucket.journal.saw(latest)
    whole = whole or not latest or not 0 <= now - _moment(catalog, _WHOLE) < snapshot.DAY
    # Not from the latest entry on, where it was listed since: its name may be from a clock that ran ahead.
    listed = min(_moment(catalog, _LISTED), now) if catalog.mark(_LISTED) else ulid.seconds(latest or believed)
    since = None if whole else listed - OVERLAP
    seen = catalog.seen(since="" if since is None else ulid.lowest(since))
    before = catalog.skipped()
    _take(catalog, bucket.journal.read(seen=seen, since=since, first=catalog.first()))
    if whole and before:
        catalog.forget_skipped(one.key for one in before if _is_gone(bucket, one.key))
    if now - _moment(catalog, _LISTED) > _WORTH_NOTING:
        catalog.set_mark(_LISTED, repr(now))
    if whole:
        catalog.set_mark(_WHOLE, repr(now))
    return remarks + _remarks(catalog.skipped())


def write_snapshot(bucket: Bucket, catalog: "Catalog") -> snapshot.Snapshot:
    """Make the bucket's snapshot anew, as of today, from all of its journal."""
    sync(bucket, catalog, whole=True)
    until = snapshot.boundary(bucket.journal.clock())
    data = snapshot.encode(catalog.entries(before=until), until=until)
    bucket.backend.write(SNAPSHOT_KEY, [data], size=len(data))
    catalog.set_mark(_SNAPSHOT, until)
    return snapshot.decode(data)[0]


def snapshot_due(bucket: Bucket, catalog: "Catalog") -> bool:
    """Whether so much was done since the last snapshot that a new one is worth its bytes."""
    until, last = snapshot.boundary(bucket.journal.clock()), catalog.mark(_SNAPSHOT)
    missing = catalog.count(since=last, before=until) if last < until else 0
    return missing > catalog.count(since="", before=until) // 50


def _moment(catalog: "Catalog", mark: str) -> float:
    return float(catalog.mark(mark) or "-inf")


def _from_snapshot(bucket: Bucket, catalog: "Catalog", *, now: float) -> list[str]:
    try:
        head, entries = snapshot.decode(b"".join(bucket.backend.read(SNAPSHOT_KEY)))
        _take(catalog, entries)
    except KeyNotFound:
        return []
    except (Damaged, FormatTooNew) as error:
        # It only saves time: all of it is in the journal.
        return [f"{error}; reading the journal instead"]
    catalog.set_mark(_SNAPSHOT, head.until)
    catalog.set_mark(_WHOLE, repr(now))
    return []


def _from_mirror(bucket: Bucket, catalog: "Catalog") -> list[str]:
    try:
        stat = bucket.backend.stat(SNAPSHOT_KEY)
        seen = f"{stat.size} {stat.modified}"
        # Where the mirror tells no date, only reading it tells whether it is another.
        if stat.modified and seen == catalog.mark(_SNAPSHOT):
            return []
        data = b"".join(bucket.backend.read(SNAPSHOT_KEY))
    except KeyNotFound:
        return []
    try:
        # Read to its end before what is known is given up for it.
        for _ in snapshot.decode(data)[1]:
            pass
    except (Damaged, FormatTooNew) as error:
        if not catalog.latest():
            raise
        return [f"{error}; what was known of {bucket.url} is used"]
    catalog.apply((), anew=True)
    _take(catalog, snapshot.decode(data)[1])
    catalog.set_mark(_SNAPSHOT, seen)
    return _remarks(catalog.skipped())


def _is_gone(bucket: Bucket, key: str) -> bool:
    try:
        bucket.backend.stat(key)
    except KeyNotFound:
        return True
    return False


def _take(catalog: "Catalog", found: Iterable[Entry | Skipped]) -> None:
    for some in _batches(found):
        skipped = [item for item in some if isinstance(item, Skipped)]
        catalog.apply((item for item in some if isinstance(item, Entry)), skipped=skipped)


def _remarks(skipped: list[Skipped]) -> list[str]:
    if len(skipped) > _MOST_REMARKS:
        more = f"{len(skipped) - 1} more objects in the journal are left out: llstore fsck --bucket lists them"
        return [str(skipped[0]), more]
    return [str(one) for one in skipped]


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(islice(iterator, _AT_ONCE)):
        yield some
