"""What a batch that was cut off has finished: from its journal's records and its output, changing neither."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from ..errors import OtherBatch
from .reader import Line
from .records import Record, Through
from .shape import is_failure
from .window import Finished

if TYPE_CHECKING:
    from hashlib import _Hash

CHUNK = 1024 * 1024
NOTHING = Through(lines=0, failed=0, size=0, output=hashlib.sha256().hexdigest(), input=hashlib.sha256().hexdigest())


@dataclass(frozen=True, slots=True)
class Prefix:
    """The finished lines at the beginning of an output: what follows `size` bytes is not finished.

    `known` says what is known of the first of them, `of` are the digests of the input's lines behind the others.
    `hashed` is the SHA-256 of the `size` bytes, as a hash that takes more.
    """

    known: Through
    lines: int
    failed: int
    size: int
    of: tuple[str, ...]
    hashed: "_Hash"


def finished_prefix(output: BinaryIO, records: Sequence[Record]) -> Prefix:
    """The finished lines of `output`, which is open at its start.

    Raises OtherBatch when what was safely on the disk is there no more.
    """
    throughs = [record for record in records if isinstance(record, Through)]
    known, hashed = _last_that_holds(output, throughs)
    synced = max((through.size for through in throughs if through.synced), default=0)
    if known.size < synced:
        raise OtherBatch("it was changed since: its first lines are not those that were written")
    of = tuple(digest for through in throughs if through.lines > known.lines for digest in through.of)
    return _with_tail(output, known, hashed, of)


def _last_that_holds(output: BinaryIO, throughs: Sequence[Through]) -> tuple[Through, "_Hash"]:
    """The last record whose bytes are all there, and their hash; the file is behind them after."""
    known, hashed = NOTHING, hashlib.sha256()
    for through in throughs:
        longer = hashed.copy()
        if not _hash(output, through.size - known.size, longer) or longer.hexdigest() != through.output:
            break
        known, hashed = through, longer
    output.seek(known.size)
    return known, hashed


def _hash(file: BinaryIO, size: int, into: "_Hash") -> bool:
    while size > 0:
        chunk = file.read(min(size, CHUNK))
        if not chunk:
            return False
        into.update(chunk)
        size -= len(chunk)
    return size == 0


def _with_tail(output: BinaryIO, known: Through, hashed: "_Hash", of: tuple[str, ...]) -> Prefix:
    # Of what was written last, whole lines count.
    size, failed, lines = known.size, known.failed, 0
    while lines < len(of):
        data = output.readline()
        document = _document(data)
        if document is None:
            break
        hashed.update(data)
        size, failed, lines = size + len(data), failed + is_failure(document), lines + 1
    return Prefix(known, known.lines + lines, failed, size, of[:lines], hashed)


def _document(data: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(data) if data.endswith(b"\n") else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def ahead(records: Sequence[Record], prefix: Prefix) -> dict[int, Finished]:
    """The answers that were finished ahead of their turn, by their numbers."""
    return {r.number: r for r in records if isinstance(r, Finished) and r.number >= prefix.lines}


def pass_over(lines: Iterator[Line], prefix: Prefix) -> "_Hash":
    """Read past the lines that are answered; returns the hash of all their digests.

    Raises OtherBatch when they are not those that were answered.
    """
    hashed = hashlib.sha256()
    for number in range(prefix.lines):
        line = next(lines, None)
        if line is None:
            raise OtherBatch(f"the input has {number} lines, and {prefix.lines} were answered")
        hashed.update(bytes.fromhex(line.digest))
        if number + 1 == prefix.known.lines and hashed.hexdigest() != prefix.known.input:
            raise OtherBatch(f"the first {number + 1} lines of the input are not those that were answered")
        if number >= prefix.known.lines and line.digest != prefix.of[number - prefix.known.lines]:
            raise OtherBatch(f"line {line.place} of the input is not the one that was answered")
    return hashed
