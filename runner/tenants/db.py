"""keys.db: the database of keys, tenants and usage, in SQLite. It is the truth: damaged, it is an error."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import mkstemp

from ...store.closing import Closing
from ...store.disk import disk_errors, make_folder, sync_folder
from ...store.errors import DiskError, FormatTooNew, NoSpace
from ..errors import KeyFileDamaged

FORMAT = 1
_LOCK_SECONDS = 5.0
_TABLES = {
    "tenants": "name TEXT PRIMARY KEY, models TEXT NOT NULL, requests_per_minute INTEGER, tokens_per_minute INTEGER,"
    " concurrency INTEGER, priority INTEGER NOT NULL, share REAL NOT NULL",
    "keys": "id TEXT PRIMARY KEY, tenant TEXT NOT NULL, secret_sha256 BLOB NOT NULL, created REAL NOT NULL,"
    " expires REAL, disabled INTEGER NOT NULL, note TEXT NOT NULL, metrics INTEGER NOT NULL, replaced_by TEXT",
    "usage": "tenant TEXT NOT NULL, model TEXT NOT NULL, day TEXT NOT NULL, requests INTEGER NOT NULL,"
    " prompt_tokens INTEGER NOT NULL, reused_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,"
    " PRIMARY KEY (tenant, model, day)",
}
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# What a sound file never says, whatever the disk does.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT)


class KeyDb(Closing):
    """The database at `path`, made where there is none. Threads and processes may share it.

    Raises KeyFileDamaged, FormatTooNew, DiskError (also where it stays locked for 5 seconds) and NoSpace.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        if not os.path.lexists(path):
            self._create()
        with self._errors():
            self._connection = _connect(path)
        try:
            with self._errors():
                self._check()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the database."""
        with self._turn:
            self._connection.close()

    def version(self) -> int:
        """A number that changes when another connection writes. Costs microseconds."""
        with self._turn, self._errors():
            return _number(self._connection, "data_version")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database as it is at one moment."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is durable at the end, or nothing happened."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._turn, self._errors(), self._connection:
            self._connection.execute(begin)
            yield self._connection

    def _create(self) -> None:
        # Made whole under another name: a file that stands at `path` and has no tables was damaged, not begun.
        with disk_errors(self._path.parent):
            make_folder(self._path.parent)
            fd, name = mkstemp(dir=self._path.parent, prefix=f"{self._path.name}.", suffix=".new")
        new = Path(name)
        try:
            # SQLite gives the files that it puts beside this one the same mode.
            with disk_errors(self._path), self._errors():
                os.fchmod(fd, 0o600)
                os.close(fd)
                _make_tables(new)
                _place(new, self._path)
        finally:
            new.unlink(missing_ok=True)

    def _check(self) -> None:
        found = _number(self._connection, "user_version")
        if found > FORMAT:
            raise FormatTooNew(f"{self._path} was written by a later llstore", hint="upgrade llstore")
        tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if found != FORMAT or not tables >= set(_TABLES):
            raise damaged(self._path, "it has not the tables of one")
        (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise damaged(self._path, " ".join(str(verdict).split()))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code is None:
                raise
            raise _translated(error, code & 0xFF, self._path) from error


def damaged(path: Path, reason: str) -> KeyFileDamaged:
    """The error for a file that is no sound key file."""
    return KeyFileDamaged(
        f"{path} is not a sound key file: {reason}",
        hint="put a copy of it back; without one, move it away and make the keys anew",
    )


def _translated(error: sqlite3.Error, code: int, path: Path) -> Exception:
    if code in _LOCKED:
        return DiskError(f"{path} is locked by another process", hint="try again")
    if code == sqlite3.SQLITE_FULL:
        return NoSpace(f"{path}: no space left", hint="free some space on its disk")
    if code in _DAMAGE:
        return damaged(path, str(error))
    return DiskError(f"cannot use the key file {path}: {error}")


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: a file that has just been taken away is not made anew, empty.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        # A key that was disabled stays so through a power cut.
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(path: Path) -> None:
    with closing(_connect(path)) as connection:
        with connection:
            connection.execute("BEGIN")
            for table, columns in _TABLES.items():
                connection.execute(f"CREATE TABLE {table} ({columns})")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        # The file keeps this mode.
        connection.execute("PRAGMA journal_mode = WAL")


def _place(new: Path, path: Path) -> None:
    # A link, unlike a rename, never takes the place of the file that another process has just made.
    try:
        path.hardlink_to(new)
    except FileExistsError:
        return
    except OSError:
        # This disk knows no links.
        if not os.path.lexists(path):
            new.rename(path)
    sync_folder(path.parent)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
