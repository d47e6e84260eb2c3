"""Which cached files were verified, so that a hit costs a stat and not a hash. Advisory: losing it costs time only."""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from .digest import Digest

SCHEMA = 1
_LOCK_SECONDS = 5.0
_TABLE = """
CREATE TABLE IF NOT EXISTS receipts (
    path TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    inode INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    used_at REAL NOT NULL
)
"""

Stamp = tuple[int, int, int, int]


def stamp(status: os.stat_result) -> Stamp:
    """What tells that a file is still the one that was verified."""
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Receipts:
    """The table of verified files, in SQLite at `path`. A broken or unwritable database is an empty one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the database."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def holds(self, path: Path, digest: Digest) -> bool:
        """Whether the file at `path` was verified to be `digest` and has not changed since."""
        query = "SELECT inode, size, mtime_ns, ctime_ns FROM receipts WHERE path = ? AND digest = ?"
        try:
            found = self._open().execute(query, (str(path), digest.hex)).fetchone()
            return found is not None and tuple(found) == stamp(path.stat())
        except (sqlite3.Error, OSError):
            return False

    def record(self, path: Path, digest: Digest, *, seen: Stamp | None = None) -> None:
        """Note that the file at `path` was verified to be `digest` while its stamp was `seen`, by default just now."""
        with suppress(sqlite3.Error, OSError):
            row = (str(path), digest.hex, *(seen or stamp(path.stat())), time.time())
            self._change("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def touch(self, path: Path) -> None:
        """Note that the file at `path` was used."""
        with suppress(sqlite3.Error, OSError):
            self._change("UPDATE receipts SET used_at = ? WHERE path = ?", (time.time(), str(path)))

    def _change(self, statement: str, values: tuple[object, ...]) -> None:
        connection = self._open()
        connection.execute(statement, values)
        connection.commit()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._prepare()
        except sqlite3.OperationalError:
            # Locked, or on a read-only disk: what it says can still be read.
            return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=_LOCK_SECONDS)
        except sqlite3.DatabaseError:
            self._path.unlink()
            return self._prepare()

    def _prepare(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_LOCK_SECONDS)
        try:
            # Losing the newest rows to a power cut costs a hash; an fsync would cost every hit.
            connection.execute("PRAGMA synchronous = OFF")
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("damaged")
            if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
                connection.execute("DROP TABLE IF EXISTS receipts")
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA user_version = {SCHEMA}")
                connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection
