"""The catalog: a store's journal as SQL tables, for names, prefixes and lists. A projection, rebuilt at will.

The only door to sqlalchemy. Tables: docs/cache.md.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
)
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from . import ulid
from .cache.room import room
from .digest import Digest
from .disk import SPACE_HINT
from .errors import DiskError, NoSpace, StoreError
from .journal import Entry
from .manifest import Manifest
from .model import Model
from .ref import Name

SCHEMA = 1

_metadata = MetaData()
_entries = Table("entries", _metadata, Column("ulid", String, primary_key=True))
_models = Table(
    "models",
    _metadata,
    Column("digest", String, primary_key=True),
    Column("manifest", String, nullable=False),
    Column("size", Integer, nullable=False),
    Column("ulid", String, nullable=False),
)
_names = Table(
    "names",
    _metadata,
    Column("name", String, primary_key=True),
    Column("digest", String, nullable=False, index=True),
    Column("ulid", String, nullable=False),
)
_labels = Table(
    "labels",
    _metadata,
    Column("digest", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    Column("ulid", String, nullable=False),
)


class Catalog:
    """The projection of one store, in SQLite at `path`. A file of another schema, or a damaged one, starts anew.

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

    def seen(self) -> set[str]:
        """The ULIDs of the entries that were applied."""
        with self._reading() as connection:
            return set(connection.scalars(select(_entries.c.ulid)))

    def apply(self, entries: Iterable[Entry], *, anew: bool = False) -> list[str]:
        """Take entries into the projection, in any order, or, `anew`, make it of these alone.

        Returns a line for each that could not be understood.
        """
        entries = list(entries)
        with _disk_errors(self._path):
            try:
                return self._applied(entries, anew=anew)
            except OperationalError:
                if self._in_memory:
                    raise
                self._move_to_memory()
                return self._applied(entries, anew=anew)

    def _applied(self, entries: list[Entry], *, anew: bool) -> list[str]:
        problems = []
        with self._engine.begin() as connection:
            for table in _metadata.sorted_tables if anew else ():
                connection.execute(delete(table))
            for entry in entries:
                # Written first: it takes SQLite's write lock before anything is read.
                connection.execute(insert(_entries).prefix_with("OR IGNORE").values(ulid=entry.ulid))
                try:
                    with connection.begin_nested():
                        _APPLY.get(entry.op, _ignore)(connection, entry)
                except (KeyError, TypeError, AttributeError, ValueError, OverflowError, StoreError) as error:
                    problems.append(f"journal entry {entry.ulid} was skipped: {error!r}")
        return problems

    def model(self, digest: Digest) -> Model | None:
        """One model, or None."""
        return next(self._find(_models.c.digest == digest.hex), None)

    def models(self) -> list[Model]:
        """All models, newest first."""
        return list(self._find())

    def named(self, name: Name) -> Digest | None:
        """The model a name points to, or None."""
        with self._reading() as connection:
            found = connection.scalar(select(_names.c.digest).where(_names.c.name == str(name)))
        return Digest(found) if found else None

    def starting_with(self, prefix: str) -> list[Digest]:
        """The models whose digest starts with `prefix`."""
        query = select(_models.c.digest).where(_models.c.digest.startswith(prefix)).order_by(_models.c.digest)
        with self._reading() as connection:
            return [Digest(found) for found in connection.scalars(query)]

    def _find(self, *conditions: "object") -> Iterator[Model]:
        query = select(_models).where(*conditions).order_by(_models.c.ulid.desc())  # type: ignore[arg-type]
        with self._reading() as connection:
            for row in connection.execute(query).all():
                names = select(_names.c.name).where(_names.c.digest == row.digest).order_by(_names.c.name)
                labels = select(_labels.c.key, _labels.c.value).where(_labels.c.digest == row.digest)
                yield Model(
                    manifest=Manifest.from_document(json.loads(row.manifest)),
                    names=tuple(connection.scalars(names)),
                    labels={key: value for key, value in connection.execute(labels.order_by(_labels.c.key))},
                    created_at=ulid.seconds(row.ulid),
                )

    def _create(self) -> None:
        if not self._sound():
            self._engine.dispose()
            self._path.unlink(missing_ok=True)
        with self._engine.begin() as connection:
            if _version(connection) != SCHEMA:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                # Where locks do not work, another process may have made the tables meanwhile.
                if _version(connection) != SCHEMA:
                    _make_tables(connection)

    def _move_to_memory(self) -> None:
        self._engine.dispose()
        self._engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        self._in_memory = True
        with self._engine.begin() as connection:
            _copy(self._path, connection.connection.driver_connection)  # type: ignore[arg-type]
            if _version(connection) != SCHEMA:
                _make_tables(connection)

    def _sound(self) -> bool:
        """Whether the file is a database, empty or not; raises OperationalError when that cannot be told."""
        try:
            with self._engine.connect() as connection:
                return bool(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() == "ok")
        except OperationalError:
            raise
        except DatabaseError:
            return False

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _disk_errors(self._path), self._engine.connect() as connection:
            yield connection


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, DatabaseError) as error:
        reason = getattr(error, "orig", None) or error
        if getattr(reason, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise NoSpace(f"no space left for the catalog {path}", hint=SPACE_HINT) from error
        raise DiskError(
            f"cannot use the catalog {path}: {reason}",
            hint="it may be removed: it is made anew from the store",
        ) from error


def _copy(path: Path, memory: sqlite3.Connection) -> None:
    # In a folder that is read-only, SQLite reads only what it is told not to change meanwhile.
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as file:
            if file.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok":
                file.backup(memory)
                return


def _version(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def _make_tables(connection: Connection) -> None:
    found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
    for name in found:
        connection.exec_driver_sql(f'DROP TABLE "{name}"')
    _metadata.create_all(connection)
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")


def _prepare_connection(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    # The file keeps this mode. Another process that is just setting it must not be waited for, and works in either.
    with suppress(sqlite3.OperationalError):
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _apply_put(connection: Connection, entry: Entry) -> None:
    manifest = Manifest.from_document(entry.document["manifest"])
    row = {
        "digest": manifest.model.hex,
        "manifest": manifest.encode().decode(),
        "size": manifest.size,
        "ulid": entry.ulid,
    }
    # The earliest put counts, in whatever order they arrive.
    connection.execute(delete(_models).where(_models.c.digest == manifest.model.hex, _models.c.ulid > entry.ulid))
    connection.execute(insert(_models).prefix_with("OR IGNORE").values(row))


def _apply_tag(connection: Connection, entry: Entry) -> None:
    name, model = Name.parse(entry.document["name"]), Digest.parse(entry.document["model"])
    moved = select(_names.c.ulid).where(_names.c.name == str(name))
    if (connection.scalar(moved) or "") < entry.ulid:
        connection.execute(delete(_names).where(_names.c.name == str(name)))
        connection.execute(insert(_names).values(name=str(name), digest=model.hex, ulid=entry.ulid))


def _apply_label(connection: Connection, entry: Entry) -> None:
    model = Digest.parse(entry.document["model"])
    for key, value in entry.document["labels"].items():
        if not isinstance(value, str):
            raise TypeError(f"label {key!r} is {value!r}")
        at = (_labels.c.digest == model.hex) & (_labels.c.key == key)
        if (connection.scalar(select(func.max(_labels.c.ulid)).where(at)) or "") < entry.ulid:
            connection.execute(delete(_labels).where(at))
            connection.execute(insert(_labels).values(digest=model.hex, key=key, value=value, ulid=entry.ulid))


def _ignore(connection: Connection, entry: Entry) -> None:
    """Intents and sweeps guard bytes; they change no model and no name."""


_APPLY = {"put": _apply_put, "tag": _apply_tag, "label": _apply_label}
