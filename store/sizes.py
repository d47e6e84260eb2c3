"""Byte counts as people write and read them."""

import re

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_SHAPE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgtp]?)(i?)b)?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """The bytes in `50GB` (powers of 1000), `50GiB` (powers of 1024) or `50000000`; raises ValueError."""
    match = _SHAPE.fullmatch(text.strip())
    if not match or (match[3] and not match[2]):
        raise ValueError(f"not a size: {text!r}")
    power = "kmgtp".index(match[2].lower()) + 1 if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power) if "." in match[1] else _whole(match, power)


def human_size(size: float) -> str:
    """Bytes in the largest unit that fits, in powers of 1000."""
    for unit in _UNITS:
        if abs(size) < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _whole(match: re.Match[str], power: int) -> int:
    return int(match[1]) * int((1024 if match[3] else 1000) ** power)
