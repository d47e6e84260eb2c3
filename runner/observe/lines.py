"""A log record as one line of ASCII, in which nothing that came from elsewhere can forge another or command a terminal.

Records are those of an Event, or of whoever logs plain text to the same logger.
"""

import json
import logging
import math
import re
import traceback
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from .events import Event

MOST = 500  # characters of a value
_READ = 8 * MOST  # characters of a value that are looked at
_FRAMES = 5
_PLAIN = re.compile(r"[\w./:@+,%-]+", re.ASCII)
# A key of ours keeps its id, which is no secret.
_SECRETS = (
    (re.compile(r"(llstore-[\w.]+-)[\w.~+/=%-]+"), r"\1[redacted]"),
    (re.compile(r"\b(bearer)(?:[\s:=+]|%20)+[^\s\"',;]+", re.IGNORECASE), r"\1 [redacted]"),
)

Fact = str | int | float | None


def as_json(record: logging.LogRecord, dropped: int = 0) -> str:
    """For machines: an object."""
    return json.dumps(dict(_facts(record, dropped))) + "\n"


def as_text(record: logging.LogRecord, dropped: int = 0) -> str:
    """For people: time, level, event, then `name=value`."""
    found = dict(_facts(record, dropped))
    head = [str(found.pop(name)) for name in ("time", "level", "event")]
    return " ".join([*head, *(f"{name}={_quoted(value)}" for name, value in found.items())]) + "\n"


def _facts(record: logging.LogRecord, dropped: int) -> Iterator[tuple[str, Fact]]:
    yield "time", datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    yield "level", record.levelname.lower()
    happened = vars(record).get("happened")
    yield "event", happened.event if isinstance(happened, Event) else "message"
    told = _of_event(record, happened) if isinstance(happened, Event) else _of_message(record)
    yield from ((name, _safe(value)) for name, value in told if value is not None)
    if dropped:
        yield "dropped", dropped


def _of_event(record: logging.LogRecord, event: Event) -> Iterator[tuple[str, object]]:
    yield "request_id", vars(record).get("request_id") or None
    for field in fields(event):
        yield field.name, getattr(event, field.name)


def _of_message(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    yield "message", record.getMessage()
    if record.exc_info and record.exc_info[1]:
        error = record.exc_info[1]
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        yield "error", f"{type(error).__name__}: {error}"
        yield "at", ", ".join(f"{Path(each.filename).name}:{each.lineno}" for each in reversed(frames))


def _safe(value: object) -> Fact:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else str(value)
    if isinstance(value, bool | int):
        return value
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    text = text[:_READ]
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return text if len(text) <= MOST else text[: MOST - 1] + "…"


def _quoted(value: Fact) -> str:
    text = json.dumps(value)
    return str(value) if isinstance(value, str) and _PLAIN.fullmatch(value) else text
