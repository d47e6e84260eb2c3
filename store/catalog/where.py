"""A selection as SQL."""

import operator
from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select

from ..selection import Selection, Sort
from .rows import KINDS
from .tables import NAMES, NOTES, PUTS

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}


def conditions(selection: Selection) -> Iterator[ColumnElement[bool]]:
    """What must hold of a put."""
    if selection.architecture is not None:
        yield PUTS.c.architecture == selection.architecture
    if selection.quantization is not None:
        yield PUTS.c.quantization == selection.quantization
    for bound in selection.sizes:
        yield _COMPARE[bound.operator](PUTS.c.size, bound.size)
    for key, value in selection.labels.items():
        labelled = select(NOTES.c.digest).where(NOTES.c.kind == KINDS[0], NOTES.c.key == key, NOTES.c.value == value)
        yield PUTS.c.digest.in_(labelled)
    if selection.names:
        fitting = or_(*(NAMES.c.name.op("GLOB")(_pattern(name)) for name in selection.names))
        yield PUTS.c.digest.in_(select(NAMES.c.digest).where(fitting, NAMES.c.digest.is_not(None)))


def order(sort: Sort) -> ColumnElement[Any]:
    """What the puts are ordered by."""
    first_name = select(func.min(NAMES.c.name)).where(NAMES.c.digest == PUTS.c.digest).scalar_subquery()
    columns: dict[Sort, ColumnElement[Any]] = {
        Sort.NEWEST: PUTS.c.ulid.desc(),
        Sort.OLDEST: PUTS.c.ulid.asc(),
        Sort.SIZE: PUTS.c.size.desc(),
        Sort.PARAMETERS: func.coalesce(PUTS.c.parameters, 0).desc(),
        # Those without a name come last.
        Sort.NAME: func.coalesce(first_name, "~"),
    }
    return columns[sort]


def _pattern(name: str) -> str:
    # Without a tag, any tag is meant.
    return name if ":" in name or name.endswith("*") else f"{name}:*"
