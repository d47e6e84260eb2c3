"""The catalog of one store: entries in, models and names out."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from .. import ulid
from ..closing import Closing
from ..digest import Digest
from ..entry import Entry, Skipped
from ..errors import StoreError
from ..layout import journal_key
from ..manifest import Manifest
from ..model import Model
from ..ref import Name
from ..selection import Selection
from .file import CatalogFile
from .rows import KINDS, Row, Rows, rows_of
from .tables import ENTRIES, MARKS, METADATA, NAMES, NOTES, PUTS, SKIPPED
from .where import conditions, order

_AT_ONCE = 500  # values in one statement: SQLite takes no more than 999 on old systems


class Catalog(Closing):
    """The projection of one store, in SQLite at `path` (see CatalogFile)."""

    def __init__(self, path: Path) -> None:
        self._file = CatalogFile(path)

    def close(self) -> None:
        """Close the database."""
        self._file.close()

    def apply(self, entries: Iterable[Entry], *, skipped: Iterable[Skipped] = (), anew: bool = False) -> list[Skipped]:
        """Take entries into the projection, in any order, or, `anew`, make it of these alone.

        Returns those that could not be understood, which are remembered like those that were `skipped` before.
        """
        rows = rows_of(entries)
        rows.skipped += skipped
        self._file.write(lambda connection: _apply(connection, rows, anew=anew))
        return rows.skipped

    def skipped(self) -> list[Skipped]:
        """The objects of the journal that could not be read, or not wholly."""
        with self._file.reading() as connection:
            return [Skipped(row.key, row.reason) for row in connection.execute(select(SKIPPED).order_by(SKIPPED.c.key))]

    def forget_skipped(self, keys: Iterable[str]) -> None:
        """Those objects are there no more."""
        gone = list(keys)
        self._file.write(lambda connection: connection.execute(delete(SKIPPED).where(SKIPPED.c.key.in_(gone))))

    def seen(self, *, since: str = "") -> set[str]:
        """The ULIDs of the entries that were applied, from `since` on."""
        with self._file.reading() as connection:
            return set(connection.scalars(select(ENTRIES.c.ulid).where(ENTRIES.c.ulid >= since)))

    def latest(self, *, before: str = ulid.LAST) -> str:
        """The greatest ULID less than `before` that was applied; "" when there is none."""
        return self._extreme(func.max(ENTRIES.c.ulid), ENTRIES.c.ulid < before)

    def first(self) -> str:
        """The least ULID that was applied; "" when there is none."""
        return self._extreme(func.min(ENTRIES.c.ulid))

    def mark(self, name: str) -> str:
        """What was remembered under `name`; "" when nothing was."""
        with self._file.reading() as connection:
            return connection.scalar(select(MARKS.c.value).where(MARKS.c.name == name)) or ""

    def set_mark(self, name: str, value: str) -> None:
        """Remember something of how far the journal was read."""
        row = insert(MARKS).values(name=name, value=value)
        upsert = row.on_conflict_do_update(index_elements=["name"], set_={"value": value})
        self._file.write(lambda connection: connection.execute(upsert))

    def model(self, digest: Digest) -> Model | None:
        """One model, or None when it is not in the store."""
        return next(self._find(PUTS.c.digest == digest.hex), None)

    def models(self, selection: Selection | None = None) -> list[Model]:
        """The models that `selection` wants, or all, newest first."""
        wanted = selection or Selection()
        return list(self._find(*conditions(wanted), order_by=order(wanted.sort), limit=wanted.limit))

    def holds(self, digest: Digest) -> bool:
        """Whether the model is in the store."""
        query = select(PUTS.c.ulid).where(PUTS.c.digest == digest.hex, PUTS.c.live)
        with self._file.reading() as connection:
            return connection.scalar(query) is not None

    def live(self) -> set[Digest]:
        """The models of the store with all their files, and what entries keep."""
        found: set[Digest] = set()
        with self._file.reading() as connection:
            rows = connection.execution_options(yield_per=1000)
            for text in rows.scalars(select(PUTS.c.manifest).where(PUTS.c.live)):
                manifest = Manifest.from_document(json.loads(text))
                found |= {manifest.model, *(file.digest for file in manifest.files)}
            for text in rows.scalars(select(ENTRIES.c.keeps).where(ENTRIES.c.keeps.is_not(None))):
                found |= {Digest(hex) for hex in text.split()}
        return found

    def named(self, name: Name) -> Digest | None:
        """The model a name points to, or None."""
        with self._file.reading() as connection:
            found = connection.scalar(select(NAMES.c.digest).where(NAMES.c.name == str(name)))
        return Digest(found) if found else None

    def names(self) -> list[str]:
        """All names that point to a model of the store."""
        query = select(NAMES.c.name).join(PUTS, (PUTS.c.digest == NAMES.c.digest) & PUTS.c.live)
        with self._file.reading() as connection:
            return list(connection.scalars(query.order_by(NAMES.c.name)))

    def starting_with(self, prefix: str) -> list[Digest]:
        """The models whose digest starts with `prefix`."""
        query = select(PUTS.c.digest).where(PUTS.c.digest.startswith(prefix), PUTS.c.live).order_by(PUTS.c.digest)
        with self._file.reading() as connection:
            return [Digest(found) for found in connection.scalars(query)]

    def history(self, *, name: Name | None = None, model: Digest | None = None) -> list[Entry]:
        """What was done with a name, or with a model, oldest first."""
        of_name, of_model = ENTRIES.c.name == str(name), ENTRIES.c.digest == (model.hex if model else "")
        return list(self._entries(of_name if name else of_model, ENTRIES.c.op != "skipped", order_by=ENTRIES.c.moment))

    def entries(self, *, before: str) -> Iterator[Entry]:
        """All that was applied with a ULID less than `before`, in order."""
        return self._entries(ENTRIES.c.ulid < before, ENTRIES.c.op != "skipped")

    def count(self, *, since: str, before: str) -> int:
        """How many entries there are with a ULID from `since` on and less than `before`."""
        query = select(func.count()).where(ENTRIES.c.ulid >= since, ENTRIES.c.ulid < before)
        with self._file.reading() as connection:
            return int(connection.scalar(query) or 0)

    def intents(self, *, since: str) -> set[Digest]:
        """The blobs that somebody intends to rely on, by intents from `since` on that are not over."""
        ended = select(ENTRIES.c.ends).where(ENTRIES.c.ends.is_not(None))
        wanted = (ENTRIES.c.op == "intent", ENTRIES.c.ulid >= since, ENTRIES.c.ulid.not_in(ended))
        found: set[Digest] = set()
        for entry in self._entries(*wanted):
            with suppress(TypeError, ValueError, StoreError):
                found |= {Digest.parse(text) for text in entry.document.get("digests", ())}
        return found

    def sweeps(self, *, since: str) -> list[Entry]:
        """The sweeps from `since` on."""
        return list(self._entries(ENTRIES.c.op == "sweep", ENTRIES.c.ulid >= since))

    def _extreme(self, value: Any, *wanted: ColumnElement[bool]) -> str:
        with self._file.reading() as connection:
            return connection.scalar(select(value).where(*wanted)) or ""

    def _entries(self, *wanted: ColumnElement[bool], order_by: ColumnElement[Any] = ENTRIES.c.ulid) -> Iterator[Entry]:
        query = (
            select(ENTRIES, PUTS.c.manifest)
            .outerjoin(PUTS, PUTS.c.ulid == ENTRIES.c.ulid)
            .where(*wanted)
            .order_by(order_by)
        )
        with self._file.reading() as connection:
            for row in connection.execution_options(yield_per=1000).execute(query):
                yield Entry(row.ulid, _document(row), row.moment)

    def _find(
        self, *wanted: ColumnElement[bool], order_by: ColumnElement[Any] | None = None, limit: int | None = None
    ) -> Iterator[Model]:
        puts = select(PUTS.c.digest, PUTS.c.manifest, PUTS.c.ulid).where(PUTS.c.live, *wanted)
        puts = puts.order_by(PUTS.c.ulid.desc() if order_by is None else order_by).limit(limit)
        with self._file.reading() as connection:
            found = connection.execute(puts).all()
            for start in range(0, len(found), _AT_ONCE):
                yield from _models(connection, found[start : start + _AT_ONCE])


def _apply(connection: Connection, rows: Rows, *, anew: bool) -> None:
    for table in METADATA.sorted_tables if anew else ():
        connection.execute(delete(table))
    # Written first: it takes SQLite's write lock before anything is read.
    _insert(connection, insert(ENTRIES).on_conflict_do_nothing(), rows.entries)
    _insert(connection, insert(PUTS).on_conflict_do_nothing(), rows.puts)
    names, notes = insert(NAMES), insert(NOTES)
    # The latest word counts, in whatever order they arrive.
    _insert(
        connection,
        names.on_conflict_do_update(
            index_elements=["name"],
            set_={"digest": names.excluded.digest, "moment": names.excluded.moment},
            where=names.excluded.moment > NAMES.c.moment,
        ),
        rows.names,
    )
    _insert(
        connection,
        notes.on_conflict_do_update(
            index_elements=["digest", "kind", "key"],
            set_={"value": notes.excluded.value, "moment": notes.excluded.moment},
            where=notes.excluded.moment > NOTES.c.moment,
        ),
        rows.notes,
    )
    read = [journal_key(str(row["ulid"])) for row in rows.entries]
    for start in range(0, len(read), _AT_ONCE):
        connection.execute(delete(SKIPPED).where(SKIPPED.c.key.in_(read[start : start + _AT_ONCE])))
    skipped = insert(SKIPPED)
    _insert(
        connection,
        skipped.on_conflict_do_update(index_elements=["key"], set_={"reason": skipped.excluded.reason}),
        [{"key": one.key, "reason": one.reason} for one in rows.skipped],
    )
    _settle_lives(connection, sorted(rows.touched))


def _insert(connection: Connection, statement: Any, rows: list[Row]) -> None:
    if rows:
        connection.execute(statement, rows)


def _settle_lives(connection: Connection, touched: list[str]) -> None:
    """Say anew which put of each model is the live one: the first since the model was last removed."""
    other = PUTS.alias("other")
    removed = (
        select(func.coalesce(func.max(ENTRIES.c.moment), ""))
        .where(ENTRIES.c.digest == other.c.digest, ENTRIES.c.op == "remove")
        .correlate(other)
        .scalar_subquery()
    )
    since = select(func.min(other.c.ulid)).where(other.c.digest == PUTS.c.digest, other.c.ulid > removed)
    first = since.correlate(PUTS).scalar_subquery()
    for start in range(0, len(touched), _AT_ONCE):
        some = PUTS.c.digest.in_(touched[start : start + _AT_ONCE])
        connection.execute(update(PUTS).where(some).values(live=func.coalesce(PUTS.c.ulid == first, False)))


def _models(connection: Connection, puts: Any) -> Iterator[Model]:
    digests = [put.digest for put in puts]
    names: dict[str, list[str]] = defaultdict(list)
    notes: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for row in connection.execute(select(NAMES).where(NAMES.c.digest.in_(digests)).order_by(NAMES.c.name)):
        names[row.digest].append(row.name)
    said = select(NOTES).where(NOTES.c.digest.in_(digests), NOTES.c.value.is_not(None)).order_by(NOTES.c.key)
    for row in connection.execute(said):
        notes[row.digest, row.kind][row.key] = row.value
    for put in puts:
        label, annotation = (notes[put.digest, kind] for kind in KINDS)
        yield Model(
            manifest=Manifest.from_document(json.loads(put.manifest)),
            names=tuple(names[put.digest]),
            labels=label,
            annotations=annotation,
            created_at=ulid.seconds(put.ulid),
        )


def _document(row: Any) -> dict[str, Any]:
    """The document of an entry, from its row."""
    if row.document:
        return dict(json.loads(row.document))
    document = {"op": row.op}
    if row.name:
        document["name"] = row.name
    if row.digest:
        document["model"] = f"sha256:{row.digest}"
    if row.manifest:
        document["manifest"] = json.loads(row.manifest)
    if row.ends:
        document["intent"] = row.ends
    return document
