"""What may go and what must stay: plain functions over plain facts."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..backends import Stat
from ..digest import Digest
from ..entry import Entry
from ..errors import InvalidRef

FOLDERS = ("blobs", "blocks", "manifests")
SWEEP_SECONDS = 10 * 60  # how long a sweep may delete
_LATEST = 2.0**48 / 1000  # seconds: the last moment a ULID can name


@dataclass(frozen=True, slots=True)
class Candidate:
    """An object of the store that may be deleted: its key, whose it is, its size in bytes."""

    key: str
    digest: Digest
    size: int


def candidates(objects: Iterable[Stat], *, live: Collection[Digest], before: float) -> list[Candidate]:
    """The blobs, block lists and manifests of nothing `live` that were last written before that moment."""
    found = []
    for stat in objects:
        digest = _digest_in(stat.key)
        if digest and digest not in live and stat.modified <= before:
            found.append(Candidate(stat.key, digest, stat.size))
    return found


def swept_until(sweeps: Iterable[Entry], digests: Collection[Digest], *, now: float) -> float:
    """When the last of the sweeps that may delete one of `digests` ends; 0 when none of them is open."""
    listed, wanted = list(sweeps), {str(digest) for digest in digests}
    over = {str(sweep.document.get("sweep")) for sweep in listed}
    ends = [_end(sweep, wanted) for sweep in listed if sweep.ulid not in over]
    return max((end for end in ends if end > now), default=0.0)


def _end(sweep: Entry, wanted: set[str]) -> float:
    # What is not a sweep of these digests, or cannot be understood, ends at 0: nobody deletes by it either.
    digests, until = sweep.document.get("digests"), sweep.document.get("until")
    if sweep.op != "sweep" or not isinstance(digests, list) or wanted.isdisjoint(map(str, digests)):
        return 0.0
    return float(until) if isinstance(until, int | float) and 0 < until < _LATEST else 0.0


def _digest_in(key: str) -> Digest | None:
    # What stands elsewhere, or under a name that is none of ours, is not ours to delete.
    parts = key.split("/")
    if len(parts) != 4 or parts[0] not in FOLDERS or parts[1] != "sha256" or parts[2] != parts[3][:2]:
        return None
    try:
        return Digest(parts[3])
    except InvalidRef:
        return None
