"""Reading the keywords of a JSON Schema, and saying where one is wrong."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InvalidSampling
from .numbers import Bounds, decimals, integers

MAX_COUNT = 100_000  # of characters and of items

Schema = Mapping[str, Any]


def number(kind: str, schema: Schema, where: str) -> str:
    """A rule for the numbers within the bounds that a schema gives."""
    least, above = bound(schema, "minimum", "exclusiveMinimum", where=where, strictest=max)
    most, below = bound(schema, "maximum", "exclusiveMaximum", where=where, strictest=min)
    if kind == "integer":
        whole = Bounds(
            None if least is None else math.ceil(least),
            None if most is None else math.floor(most),
            above=above and least == math.ceil(least or 0),
            below=below and most == math.floor(most or 0),
        )
        found = integers(whole)
    else:
        if any(one is not None and one != int(one) for one in (least, most)):
            raise InvalidSampling(f"the JSON Schema{at(where)} has a bound with a fraction, which no grammar keeps")
        first, last = (None if one is None else int(one) for one in (least, most))
        found = decimals(Bounds(first, last, above=above, below=below))
    if not found:
        raise InvalidSampling(f"the JSON Schema{at(where)} allows no number")
    return found


def bound(
    schema: Schema, with_: str, without: str, *, where: str, strictest: Callable[[float, float], float]
) -> tuple[float | None, bool]:
    """A bound, and whether it is itself left out. Draft 4 says the latter as true beside the bound."""
    inner, outer = schema.get(with_), schema.get(without)
    if isinstance(outer, bool):
        inner, outer = (None, inner) if outer else (inner, None)
    for name, value in ((with_, inner), (without, outer)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 1e15):
            raise InvalidSampling(f"the JSON Schema{at(where)} has the {name} {value!r:.60}, which no grammar keeps")
    if inner is None or outer is None:
        return (inner, False) if outer is None else (outer, True)
    return (outer, True) if strictest(inner, outer) == outer else (inner, False)


def a_list(value: Any, name: str, where: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise InvalidSampling(f"the JSON Schema{at(where)} has {name} that is no list")
    return value


def count(schema: Schema, name: str, where: str) -> int | None:
    """A number from 0, or None where there is none."""
    value = schema.get(name)
    if value is not None and (type(value) is not int or not 0 <= value <= MAX_COUNT):
        raise InvalidSampling(f"the JSON Schema{at(where)} has the {name} {value!r:.60}; {MAX_COUNT} is the most")
    return value


def unkept(name: str, where: str) -> InvalidSampling:
    """The error for a keyword that no grammar keeps."""
    return InvalidSampling(f"the JSON Schema{at(where)} asks for {name}, which no grammar keeps")


def at(where: str) -> str:
    """A place in a schema, as messages say it."""
    return f" at #{where:.100}" if where and not where.startswith("#") else f" at {where:.100}" if where else ""
