"""The elements of an array, read from the file when somebody wants them."""

from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO

from ..errors import Unsafe
from .header import Array
from .types import SCALARS
from .window import CHUNK

_LENGTH = Struct("<Q")


def first_bytes(file: BinaryIO, array: Array, count: int) -> bytes:
    """The first bytes of an array that has so many."""
    file.seek(array.start)
    return _read(file, count)


def numbers(file: BinaryIO, array: Array) -> tuple[int | float | bool, ...]:
    """The numbers of a short array, all at once."""
    return Struct(f"<{array.length}{SCALARS[array.kind][1]}").unpack(first_bytes(file, array, array.size))


def strings(file: BinaryIO, array: Array) -> Iterator[list[bytes]]:
    """The strings of an array, as many at a time as lie in a MiB; raises Unsafe for one longer than that."""
    file.seek(array.start)
    buffer, left, count = b"", array.size, array.length
    while count:
        found, at = _whole_strings(buffer, count)
        if found:
            yield found
            count -= len(found)
            buffer = buffer[at:]
            continue
        wanted = 8 + int(_LENGTH.unpack_from(buffer)[0]) if len(buffer) >= 8 else 8
        if wanted > CHUNK:
            raise Unsafe(f"has a text of {wanted} bytes in an array", code="limit")
        more = _read(file, min(left, CHUNK))
        left -= len(more)
        buffer += more


def _whole_strings(buffer: bytes, count: int) -> tuple[list[bytes], int]:
    """The strings that lie in the buffer, `count` at most, and where they end."""
    found: list[bytes] = []
    at, last, length_at = 0, len(buffer) - 8, _LENGTH.unpack_from
    while at <= last and len(found) < count:
        after = at + 8 + length_at(buffer, at)[0]
        if after > last + 8:
            break
        found.append(buffer[at + 8 : after])
        at = after
    return found, at


def _read(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count or not count:
        raise Unsafe("changed while it was read", code="changed")
    return data
