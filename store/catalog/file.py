"""The catalog's database file: made, checked, and, where it cannot be written, copied into memory."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from ..cache.room import room
from ..closing import Closing
from ..disk import SPACE_HINT
from ..errors import DiskError, NoSpace
from .tables import SCHEMA, make_tables, version

T = TypeVar("T")

_QUICK_BYTES = 32 * 1024 * 1024  # in a larger file, looking at every page would take longer than the command


class CatalogFile(Closing):
    """An SQLite database at `path`. A file of another schema, or a damaged one, starts anew.

    One that cannot be written or locked is copied into memory: it says what it knows, and what it learns is forgotten.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        self._in_memory = False
        event.listen(self._engine, "connect", _prepare_connection)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite does not bear that a file is replaced which another process has just opened.
            with room(path.with_suffix(".lock")):
                self._create()
        except (OSError, OperationalError):
            self._move_to_memory()

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read from; raises DiskError."""
        with disk_errors(self._path), self._engine.connect() as connection:
            yield connection

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction; raises NoSpace or DiskError. It may be done a second time, in memory."""
        with disk_errors(self._path):
            try:
                return self._written(work)
            except OperationalError:
                if self._in_memory:
                    raise
                self._move_to_memory()
                return self._written(work)

    def _written(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    def _create(self) -> None:
        if not self._sound():
            self._engine.dispose()
            self._path.unlink(missing_ok=True)
        with self._engine.begin() as connection:
            if version(connection) != SCHEMA:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                # Where locks do not work, another process may have made the tables meanwhile.
                if version(connection) != SCHEMA:
                    make_tables(connection)

    def _move_to_memory(self) -> None:
        self._engine.dispose()
        self._engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        self._in_memory = True
        with self._engine.begin() as connection:
            _copy(self._path, connection.connection.driver_connection)  # type: ignore[arg-type]
            if version(connection) != SCHEMA:
                make_tables(connection)

    def _sound(self) -> bool:
        """Whether the file is a database, empty or not; raises OperationalError when that cannot be told."""
        try:
            with self._engine.connect() as connection:
                if self._path.exists() and self._path.stat().st_size > _QUICK_BYTES:
                    connection.exec_driver_sql("SELECT name FROM sqlite_master").all()
                    return True
                return bool(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() == "ok")
        except OperationalError:
            raise
        except DatabaseError:
            return False


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns the database's refusals into the store's errors, about `path`."""
    try:
        yield
    except (OSError, DatabaseError) as error:
        reason = getattr(error, "orig", None) or error
        if getattr(reason, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise NoSpace(f"no space left for the catalog {path}", hint=SPACE_HINT) from error
        raise DiskError(
            f"cannot use the catalog {path}: {reason}",
            hint="llstore reindex makes it anew from the store",
        ) from error


def _copy(path: Path, memory: sqlite3.Connection) -> None:
    # In a folder that is read-only, SQLite reads only what it is told not to change meanwhile.
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as file:
            if file.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok":
                file.backup(memory)
                return


def _prepare_connection(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    # The file keeps this mode. Another process that is just setting it must not be waited for, and works in either.
    with suppress(sqlite3.OperationalError):
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()
