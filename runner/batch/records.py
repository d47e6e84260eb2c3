"""What a batch's journal holds: one JSON object a line (docs/batch.md).

The first line says whose journal it is. A `Through` stands there before what it tells of is written to the output, and
again, `synced`, when that is known to be on the disk. A `Finished` is an answer whose turn has not come.
"""

import json
from dataclasses import dataclass
from typing import Any

from ...store.errors import FormatTooNew
from ..errors import OtherBatch
from .window import Finished

KIND, FORMAT = "llstore-batch", 1
_UPGRADE = "upgrade: pip install -U llstore"


@dataclass(frozen=True, slots=True)
class Through:
    """The output has `lines` lines, of which `failed` have no answer, in `size` bytes whose SHA-256 is `output`.

    `of` are the digests of the lines of the input that this record adds; `input` is the SHA-256 of those of all.
    """

    lines: int
    failed: int
    size: int
    output: str
    input: str
    of: tuple[str, ...] = ()
    synced: bool = False


Record = Through | Finished


def header(settings: dict[str, Any]) -> bytes:
    """The first line of the journal of a batch with these settings."""
    return _line({"kind": KIND, "format": FORMAT, "settings": settings})


def encode(record: Record) -> bytes:
    """A line of a journal."""
    if isinstance(record, Finished):
        text = record.data.decode()
        return _line({"ahead": record.number, "of": record.of, "failed": record.failed, "line": text})
    return _line(
        {
            "through": record.lines,
            "failed": record.failed,
            "size": record.size,
            "output": record.output,
            "input": record.input,
            "of": record.of,
            "synced": record.synced,
        }
    )


def decode(data: bytes) -> tuple[dict[str, Any], list[Record]]:
    """The settings in a journal, and its records.

    What follows a record that is not whole was never finished, and is left out. Raises OtherBatch for what is no
    journal, FormatTooNew.
    """
    first, *rest = data.split(b"\n")
    settings = _settings(first)
    records: list[Record] = []
    # Behind the last newline stands nothing, or what was not finished.
    for line in rest[:-1]:
        record = _record(line)
        if record is None:
            break
        records.append(record)
    return settings, records


def _settings(line: bytes) -> dict[str, Any]:
    found = _object(line)
    if not found or found.get("kind") != KIND or not isinstance(found.get("settings"), dict):
        raise OtherBatch("it is not a batch's journal")
    if found.get("format") != FORMAT:
        raise FormatTooNew(f"its format is {found.get('format')!r:.20}, this llstore reads {FORMAT}", hint=_UPGRADE)
    settings: dict[str, Any] = found["settings"]
    return settings


def _record(line: bytes) -> Record | None:
    found = _object(line)
    try:
        return None if found is None else _through(found) if "through" in found else _ahead(found)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _through(found: dict[str, Any]) -> Through:
    return Through(
        lines=int(found["through"]),
        failed=int(found["failed"]),
        size=int(found["size"]),
        output=str(found["output"]),
        input=str(found["input"]),
        of=tuple(map(str, found["of"])),
        synced=bool(found["synced"]),
    )


def _ahead(found: dict[str, Any]) -> Finished:
    return Finished(int(found["ahead"]), str(found["of"]), found["line"].encode(), bool(found["failed"]))


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
