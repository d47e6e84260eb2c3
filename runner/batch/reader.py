"""The lines of a batch's input, one at a time, however long they are and however many."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_LINE = 16 * 1024 * 1024  # bytes; contexts of a million tokens hold less
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank. `number` counts such lines from 0, `place` counts all lines from 1, as editors do.

    `data` has no newline, and is None for a line of more than MAX_LINE bytes. `digest` are the first 32 hex digits of
    the line's SHA-256.
    """

    number: int
    place: int
    data: bytes | None
    digest: str


def read_lines(file: BinaryIO, *, most: int = MAX_LINE) -> Iterator[Line]:
    """The lines of `file` that are not blank; a line never takes more memory than `most` bytes."""
    number = 0
    for place, (data, digest) in enumerate(_whole_lines(file, most), start=1):
        if data is None or data.strip():
            yield Line(number, place, data, digest)
            number += 1


def _whole_lines(file: BinaryIO, most: int) -> Iterator[tuple[bytes | None, str]]:
    first = True
    while part := file.readline(most + 1):
        part = part.removeprefix(_BOM) if first else part
        first = False
        hashed = hashlib.sha256(part.removesuffix(b"\n"))
        too_long = len(part) > most and not part.endswith(b"\n")
        while too_long and part and not part.endswith(b"\n"):
            part = file.readline(most + 1)
            hashed.update(part.removesuffix(b"\n"))
        yield None if too_long else part.removesuffix(b"\n"), hashed.hexdigest()[:32]
