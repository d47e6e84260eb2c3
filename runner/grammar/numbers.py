"""GBNF of the numbers between two bounds."""

from dataclasses import dataclass

_MOST_DIGITS = 15  # what a 64-bit float holds without rounding
_FRACTION = '"." [0-9]{1,15}'
_MORE_THAN_NOTHING = '"." [0-9]{0,14} [1-9]'


@dataclass(frozen=True, slots=True)
class Bounds:
    """From `least` to `most`, either of them left out when `above` or `below` says so; None is no bound."""

    least: int | None = None
    most: int | None = None
    above: bool = False
    below: bool = False


def integers(bounds: Bounds) -> str:
    """The whole numbers within bounds; "" when there are none."""
    least = None if bounds.least is None else bounds.least + bounds.above
    most = None if bounds.most is None else bounds.most - bounds.below
    found = []
    if most is None or most >= 0:
        found.append(digits(max(least or 0, 0), most))
    if least is None or least < 0:
        negative = digits(max(-(most or 0), 1) if most is not None else 1, None if least is None else -least)
        found.append(f'"-" ({negative})' if negative else "")
    return " | ".join(one for one in found if one)


def decimals(bounds: Bounds) -> str:
    """The numbers within bounds, with a fraction or without; "" when there are none."""
    found = []
    if bounds.most is None or bounds.most >= 0:
        above = bounds.above and (bounds.least or 0) >= 0 and bounds.least is not None
        found.append(_magnitudes(max(bounds.least or 0, 0), bounds.most, above=above, below=bounds.below))
    if bounds.least is None or bounds.least < 0:
        nearest = 0 if bounds.most is None else max(-bounds.most, 0)
        above = bounds.below and bounds.most is not None and bounds.most <= 0
        furthest = None if bounds.least is None else -bounds.least
        negative = _magnitudes(nearest, furthest, above=above, below=bounds.above)
        found.append(f'"-" ({negative})' if negative else "")
    return " | ".join(one for one in found if one)


def _magnitudes(least: int, most: int | None, *, above: bool, below: bool) -> str:
    """Numbers without a sign: the whole ones short of `most` take a fraction, `most` itself none."""
    found = []
    if above and (most is None or least < most):
        found.append(f'"{least}" {_MORE_THAN_NOTHING}')
    inner = digits(least + above, None if most is None else most - 1)
    if inner:
        found.append(f"({inner}) ({_FRACTION})?")
    if most is not None and not below and most >= least + above:
        found.append(f'"{most}" ("." "0"{{1,15}})?')
    return " | ".join(found)


def digits(least: int, most: int | None) -> str:
    """The whole numbers from `least`, which is not negative, to `most`; at most 15 digits, or as many as `least` has
    when that is more. "" when there are none."""
    if most is None:
        most = 10 ** max(_MOST_DIGITS, len(str(least))) - 1
    found = []
    for length in range(len(str(least)), len(str(most)) + 1):
        low = max(least, 10 ** (length - 1) if length > 1 else 0)
        high = min(most, 10**length - 1)
        if low <= high:
            found.append(_same_length(str(low), str(high)))
    return " | ".join(found)


def _same_length(low: str, high: str) -> str:
    if not low:
        return ""
    if set(low[1:]) <= {"0"} and set(high[1:]) <= {"9"}:
        return _one(low[0], high[0]) + _any(len(low) - 1)
    if low[0] == high[0]:
        return f'"{low[0]}" ({_same_length(low[1:], high[1:])})'
    rest = len(low) - 1
    found = [f'"{low[0]}" ({_same_length(low[1:], "9" * rest)})']
    if int(low[0]) + 1 < int(high[0]):
        found.append(_one(str(int(low[0]) + 1), str(int(high[0]) - 1)) + _any(rest))
    return " | ".join([*found, f'"{high[0]}" ({_same_length("0" * rest, high[1:])})'])


def _one(low: str, high: str) -> str:
    return f'"{low}"' if low == high else f"[{low}-{high}]"


def _any(count: int) -> str:
    return f" [0-9]{{{count}}}" if count else ""
