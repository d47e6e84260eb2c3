"""cache.db: what this machine remembers of its cache, in SQLite. Advisory: whatever happens to it costs time only."""

import os
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path

from ..closing import Closing

SCHEMA = 3
_LOCK_SECONDS = 5.0
_WITHOUT_SECONDS = 60.0  # how long work goes on without a database that stayed locked
_TABLES = {
    "receipts": "path TEXT PRIMARY KEY, digest TEXT NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,"
    " mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, used_at REAL NOT NULL",
    "leases": "id TEXT PRIMARY KEY, digest TEXT NOT NULL, owner TEXT NOT NULL, since REAL NOT NULL",
    "verdicts": "digest TEXT NOT NULL, checker INTEGER NOT NULL, verdict TEXT NOT NULL, PRIMARY KEY (digest, checker)",
    "counters": "name TEXT PRIMARY KEY, value INTEGER NOT NULL",
}

Statement = tuple[str, tuple[object, ...]]
Row = tuple[object, ...]


class CacheDb(Closing):
    """The database at `path`. Broken, it is rebuilt; locked or unwritable, it is an empty one that forgets.

    Threads may share it. No error leaves it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._turn = threading.Lock()
        self._without_until = 0.0

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        with self._turn:
            self._drop()

    def read(self, query: str, values: tuple[object, ...] = ()) -> list[Row]:
        """The rows of a query; none when the database cannot be read."""
        with self._turn:
            try:
                return list(self._open().execute(query, values))
            except (sqlite3.Error, OSError) as error:
                self._survive(error)
                return []

    def write(self, *statements: Statement) -> bool:
        """Run the statements in one transaction. Whether that worked."""
        with self._turn:
            try:
                connection = self._open()
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    for statement, values in statements:
                        connection.execute(statement, values)
                return True
            except (sqlite3.Error, OSError) as error:
                self._survive(error)
                return False

    def _survive(self, error: Exception) -> None:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            # Waiting once is enough: the next calls do not wait another five seconds each.
            self._without_until = time.monotonic() + _WITHOUT_SECONDS
        if code != sqlite3.SQLITE_READONLY:
            # Removed, replaced or damaged while open: the next use looks at it anew.
            self._drop()

    def _drop(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if time.monotonic() < self._without_until:
            raise OSError("cache.db is locked")
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite would make it 0644: a group could not share it, whatever the umask.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
        try:
            return self._prepare()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise
            # On a read-only disk: what it says can still be read.
            return _connection(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
        except sqlite3.DatabaseError:
            self.path.unlink()
            return self._prepare()

    def _prepare(self) -> sqlite3.Connection:
        connection = _connection(str(self.path))
        try:
            # Losing the newest rows to a power cut costs a hash; an fsync would cost every hit.
            connection.execute("PRAGMA synchronous = OFF")
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("damaged")
            if _version(connection) != SCHEMA:
                _create(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _connection(database: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False, uri=uri)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        # Another process may have made them meanwhile, and written to them.
        if _version(connection) != SCHEMA:
            for table, columns in _TABLES.items():
                connection.execute(f"DROP TABLE IF EXISTS {table}")
                connection.execute(f"CREATE TABLE {table} ({columns})")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
