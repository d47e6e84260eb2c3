"""What the gate said of blobs: a digest's bytes never change, so it is asked once. Losing it costs time only."""

from ..digest import Digest
from ..gate import CHECKER, Verdict
from .db import CacheDb

_KEEP = "INSERT INTO verdicts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET verdict = excluded.verdict"


class Verdicts:
    """The table of verdicts, by digest and version of the gate."""

    def __init__(self, db: CacheDb) -> None:
        self._db = db

    def find(self, digest: Digest) -> Verdict | None:
        """What this version of the gate said of a blob, or None."""
        for (text,) in self._db.read(
            "SELECT verdict FROM verdicts WHERE digest = ? AND checker = ?", (digest.hex, CHECKER)
        ):
            try:
                return Verdict.decode(str(text))
            except (ValueError, KeyError, TypeError, AttributeError):
                return None
        return None

    def keep(self, digest: Digest, verdict: Verdict) -> None:
        """Keep a verdict; those of other versions stay, for another llstore may share the cache."""
        self._db.write((_KEEP, (digest.hex, verdict.checker, verdict.encode())))
