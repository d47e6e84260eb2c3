"""ULIDs: sortable names for journal entries (https://github.com/ulid/spec)."""

import re
import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SHAPE = re.compile(f"[0-7][{ALPHABET}]{{25}}")
_RANDOM_BITS = 80
TIME = 10  # letters that tell the moment, in milliseconds; the rest is chance
_LARGEST = (1 << 128) - 1
LAST = "7" + "Z" * 25 + "~"  # greater than any


def mint(clock: float, *, after: str = "") -> str:
    """A new ULID for `clock` (seconds since 1970), greater than the ULID `after`."""
    value = (int(clock * 1000) << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
    if after and value <= _number(after):
        # A random step keeps two writers that saw the same greatest ULID apart.
        value = _number(after) + 1 + secrets.randbits(_RANDOM_BITS - 16)
    return _text(min(value, _LARGEST))


def lowest(clock: float) -> str:
    """The least ULID of `clock`: where a listing from that moment starts."""
    return _text(max(int(clock * 1000), 0) << _RANDOM_BITS)


def valid(text: str) -> bool:
    """Whether `text` is a ULID in its canonical spelling."""
    return _SHAPE.fullmatch(text) is not None


def seconds(text: str) -> float:
    """When a ULID says it was made, in seconds since 1970."""
    return (_number(text) >> _RANDOM_BITS) / 1000


def _number(text: str) -> int:
    value = 0
    for letter in text:
        value = value * 32 + ALPHABET.index(letter)
    return value


def _text(value: int) -> str:
    return "".join(ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))
