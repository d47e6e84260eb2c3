"""What a list is to show: filters, an order, and how many."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .errors import InvalidFilter
from .sizes import parse_size

_SIZE = re.compile(r"\s*(<=|>=|<|>|=)?\s*(.+)")


class Sort(StrEnum):
    """What a list is ordered by."""

    NEWEST = "newest"
    OLDEST = "oldest"
    SIZE = "size"
    PARAMETERS = "parameters"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class SizeBound:
    """A bound on a model's size: `<`, `<=`, `>`, `>=` or `=`, and bytes."""

    operator: str
    size: int

    @classmethod
    def parse(cls, text: str) -> "SizeBound":
        """The bound in `<2GB`; raises InvalidFilter."""
        match = _SIZE.fullmatch(text)
        try:
            if match:
                return cls(match[1] or "=", parse_size(match[2]))
        except ValueError:
            pass
        raise InvalidFilter(f"not a size to compare with: {text[:80]!r}", hint="for example '<2GB' or '>=500MB'")


@dataclass(frozen=True, slots=True)
class Selection:
    """The models wanted: those that fit all that is given. `names` are patterns, of which one name must fit one."""

    names: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    architecture: str | None = None
    quantization: str | None = None
    sizes: tuple[SizeBound, ...] = ()
    sort: Sort = Sort.NEWEST
    limit: int | None = None
