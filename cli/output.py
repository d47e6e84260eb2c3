"""What goes to stdout and stderr."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ..store import Store
from ..store.progress import Progress, silent
from . import settings


@contextmanager
def opened(store: str | None, *, offline: bool, quiet: bool) -> Iterator[Store]:
    """The store that flags and settings mean; its warnings go to stderr."""
    with Store(settings.load(store=store, offline=offline)) as found:
        try:
            yield found
        finally:
            for warning in dict.fromkeys(found.warnings):
                remark(warning, quiet=quiet)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """Bars on a terminal, silence elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    from .bars import bars

    with bars() as shown:
        yield shown


def remark(text: str, *, quiet: bool) -> None:
    """A line for the person, not for the pipe."""
    if not quiet:
        with suppress(OSError):
            print(f"llstore: {text}", file=sys.stderr)


def print_json(document: dict[str, Any]) -> None:
    """The one document of `--json`. A number that JSON has no word for, as a GGUF may hold, is null."""
    print(json.dumps(_finite(document), ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(each) for key, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows in columns, the first of them the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """Text from a bucket or a model's header, without what could command a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def human_count(count: int | None) -> str:
    """A number of weights as people say it: 135M, 7.2B."""
    if count is None:
        return "-"
    for limit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= limit:
            return f"{count / limit:.3g}{letter}"
    return str(count)
