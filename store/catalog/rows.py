"""From journal entries to the catalog's rows: plain data, and no database."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..digest import Digest
from ..entry import KEEPS, Entry, Skipped
from ..errors import StoreError
from ..layout import journal_key
from ..manifest import Manifest, canonical
from ..ref import Name

Row = dict[str, object]

_LABEL, _ANNOTATION = "label", "annotation"
KINDS = (_LABEL, _ANNOTATION)
_EMPTY: Row = dict.fromkeys(("name", "digest", "document", "ends", "keeps"))
_LARGEST = (1 << 63) - 1  # what SQLite counts to


@dataclass(slots=True)
class Rows:
    """What some entries add to each table; `touched` are the models that were put or removed, as hex.

    `skipped` are the entries that could not be understood, or not wholly; they count as read all the same.
    """

    entries: list[Row] = field(default_factory=list)
    puts: list[Row] = field(default_factory=list)
    names: list[Row] = field(default_factory=list)
    notes: list[Row] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    skipped: list[Skipped] = field(default_factory=list)


def rows_of(entries: Iterable[Entry]) -> Rows:
    """The rows of `entries`."""
    rows = Rows()
    for entry in entries:
        row: Row = {**_EMPTY, "ulid": entry.ulid, "op": entry.op, "moment": entry.moment}
        reason = entry.unknown()
        try:
            _READ.get(entry.op, _ignore)(rows, entry, row)
            if reason or KEEPS in entry.document:
                # What is not known is handed on as it is.
                row["document"] = canonical(entry.document).decode()
            if entry.keeps:
                row["keeps"] = " ".join(sorted(digest.hex for digest in entry.keeps))
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError, StoreError) as error:
            reason = _reason(entry, error)
            row |= {**_EMPTY, "op": "skipped"}
        if reason:
            rows.skipped.append(Skipped(journal_key(entry.ulid), reason))
        rows.entries.append(row)
    return rows


def _reason(entry: Entry, error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"its {entry.op} names no {error.args[0]}"
    return str(error)


def _read_put(rows: Rows, entry: Entry, row: Row) -> None:
    manifest = Manifest.from_document(entry.document["manifest"])
    facts, size = manifest.facts, manifest.size
    if max(size, facts.parameters or 0, facts.context_length or 0) > _LARGEST:
        raise OverflowError(f"{size} bytes are more than there can be")
    text = manifest.encode().decode()
    row |= {"digest": manifest.model.hex, "ends": _ended(entry)}
    rows.touched.add(manifest.model.hex)
    rows.puts.append(
        {
            "ulid": entry.ulid,
            "digest": manifest.model.hex,
            "manifest": text,
            "size": size,
            "architecture": facts.architecture,
            "quantization": facts.quantization,
            "parameters": facts.parameters,
            "context_length": facts.context_length,
            "live": False,
        }
    )


def _read_remove(rows: Rows, entry: Entry, row: Row) -> None:
    model = Digest.parse(entry.document["model"])
    row["digest"] = model.hex
    rows.touched.add(model.hex)


def _read_tag(rows: Rows, entry: Entry, row: Row) -> None:
    name, model = Name.parse(entry.document["name"]), Digest.parse(entry.document["model"])
    row |= {"name": str(name), "digest": model.hex}
    rows.names.append({"name": str(name), "digest": model.hex, "moment": entry.moment})


def _read_untag(rows: Rows, entry: Entry, row: Row) -> None:
    row["name"] = str(Name.parse(entry.document["name"]))
    rows.names.append({"name": row["name"], "digest": None, "moment": entry.moment})


def _read_label(rows: Rows, entry: Entry, row: Row) -> None:
    model = Digest.parse(entry.document["model"])
    notes: list[Row] = [
        {"digest": model.hex, "kind": kind, "key": key, "value": value, "moment": entry.moment}
        for kind, given in zip(KINDS, _notes(entry.document), strict=True)
        for key, value in given.items()
    ]
    row |= {"digest": model.hex, "document": canonical(entry.document).decode()}
    rows.notes += notes


def _notes(document: Mapping[str, Any]) -> tuple[dict[str, str | None], ...]:
    found = (document["labels"], document.get("annotations", {}))
    for given in found:
        for key, value in given.items():
            if value is not None and not isinstance(value, str):
                raise TypeError(f"label {key!r} is {value!r}")
    return found


def _read_guard(rows: Rows, entry: Entry, row: Row) -> None:
    """Intents and sweeps guard bytes, and change no model."""
    row |= {"document": canonical(entry.document).decode(), "ends": _ended(entry)}


def _ended(entry: Entry) -> str | None:
    ended = entry.document.get("intent")
    return ended if isinstance(ended, str) else None


def _ignore(rows: Rows, entry: Entry, row: Row) -> None:
    """What a later llstore does is not known yet."""


_READ: dict[str, Callable[[Rows, Entry, Row], None]] = {
    "put": _read_put,
    "remove": _read_remove,
    "tag": _read_tag,
    "untag": _read_untag,
    "label": _read_label,
    "intent": _read_guard,
    "sweep": _read_guard,
}
