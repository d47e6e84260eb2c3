"""Collecting a bucket: sweep -> intents -> deletes, so that no put which goes on meanwhile loses a byte."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import ulid
from ..bucket import Bucket
from ..digest import Digest
from ..entry import sweep_entry, swept_entry
from ..errors import Damaged
from ..progress import Progress
from ..snapshot import INTENT_SECONDS
from ..sync import sync
from .mark import FOLDERS, SWEEP_SECONDS, Candidate, candidates

if TYPE_CHECKING:
    from ..catalog.catalog import Catalog

GRACE_SECONDS = 24 * 60 * 60.0
_MARGIN = 60.0  # seconds before a sweep's end after which no delete is begun: one that is under way takes time
_DIGESTS_AT_ONCE = 10_000  # in one sweep


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection deleted, or would delete; `held` are those of it that an unfinished put may need.

    `left` is how many objects were not reached in time: the next collection takes them.
    """

    deleted: tuple[Candidate, ...]
    held: tuple[Candidate, ...]
    left: int = 0

    @property
    def freed(self) -> int:
        """Bytes in all that were deleted."""
        return sum(candidate.size for candidate in self.deleted)


class Collector:
    """Deletes what no live model of `bucket` names; `catalog` is brought up to its whole journal first.

    `plan` and `collect` raise Damaged while an object of the journal cannot be read, or says what this llstore does not
    know: nobody can tell which bytes hang on it. `remarks` are about what is read in another way than usual.
    """

    def __init__(self, bucket: Bucket, catalog: "Catalog", progress: Progress) -> None:
        self._bucket, self._catalog, self._progress = bucket, catalog, progress
        self.remarks: list[str] = []

    def plan(self, *, grace: float = GRACE_SECONDS) -> Collected:
        """What would be deleted now."""
        self._sync(whole=True)
        return _sorted_out(self._unneeded(grace), self._intended())

    def collect(self, *, grace: float = GRACE_SECONDS) -> Collected:
        """Delete what no live model names and was last written more than `grace` seconds ago."""
        self._sync(whole=True)
        found = self._unneeded(grace)
        digests = set(sorted({candidate.digest for candidate in found})[:_DIGESTS_AT_ONCE])
        if not digests:
            return Collected((), ())
        until = self._bucket.journal.clock() + SWEEP_SECONDS
        sweep = self._bucket.journal.append(sweep_entry(sorted(digests), until=until))
        try:
            # Only now: whoever writes an intent after this sees the sweep, and whoever wrote one before is seen.
            self._sync()
        except Damaged:
            self._bucket.journal.append(swept_entry(sweep.ulid))
            raise
        swept = digests - self._live()
        plan = _sorted_out([candidate for candidate in found if candidate.digest in swept], self._intended())
        done = self._delete(plan.deleted, until=until - _MARGIN)
        # Whoever waits for the sweep's end need not wait for its time. After a failure that is not known.
        self._bucket.journal.append(swept_entry(sweep.ulid))
        later = sum(candidate.digest not in digests for candidate in found)
        return Collected(plan.deleted[:done], plan.held, left=len(plan.deleted) - done + later)

    def _sync(self, *, whole: bool = False) -> None:
        self.remarks += sync(self._bucket, self._catalog, whole=whole)
        skipped = self._catalog.skipped()
        if skipped:
            more = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
            raise Damaged(
                f"nothing was deleted: of the journal of {self._bucket.url}, {skipped[0].key}{more} cannot be read "
                f"({skipped[0].reason})",
                hint="a later llstore may know it; llstore fsck --bucket shows all, --set-aside KEY moves one away",
            )

    def _delete(self, chosen: Collection[Candidate], *, until: float) -> int:
        """Delete in order, and return how many were, when time is up."""
        for done, candidate in enumerate(chosen):
            if self._bucket.journal.clock() >= until:
                return done
            self._bucket.backend.delete(candidate.key)
            self._progress("delete", done + 1, len(chosen))
        return len(chosen)

    def _unneeded(self, grace: float) -> list[Candidate]:
        before = self._bucket.journal.clock() - grace
        objects = (stat for folder in FOLDERS for stat in self._bucket.backend.list(f"{folder}/"))
        # Manifests and block lists go first: what a crash leaves then is a blob, which the next collection finds.
        found = candidates(objects, live=self._live(), before=before)
        return sorted(found, key=lambda candidate: (-FOLDERS.index(candidate.key.partition("/")[0]), candidate.key))

    def _live(self) -> set[Digest]:
        return self._catalog.live()

    def _intended(self) -> set[Digest]:
        since = ulid.lowest(self._bucket.journal.clock() - INTENT_SECONDS)
        return self._catalog.intents(since=since)


def _sorted_out(found: Collection[Candidate], intended: Collection[Digest]) -> Collected:
    return Collected(
        tuple(candidate for candidate in found if candidate.digest not in intended),
        tuple(candidate for candidate in found if candidate.digest in intended),
    )
