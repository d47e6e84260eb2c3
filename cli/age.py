"""Spans of time as people type them."""

import re

import typer

_AGE = re.compile(r"(\d+)([smhdw]?)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def parse_age(text: str, flag: str) -> int:
    """The seconds in 30d, 12h or 0; raises BadParameter about `flag`."""
    match = _AGE.fullmatch(text.strip())
    if not match or not (match[2] or int(match[1]) == 0):
        raise typer.BadParameter(f"{flag} is a number and s, m, h, d or w, as in 30d, not {text!r}")
    return int(match[1]) * _SECONDS[match[2] or "s"]
