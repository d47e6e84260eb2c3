"""A server's log: one line an event, through the standard logging module."""

import logging
from typing import Literal, TextIO

from ...store.closing import Closing
from .events import Event
from .lines import as_json, as_text
from .outlet import Outlet

LOGGER = "llstore.serve"
_FORMS = {"json": as_json, "text": as_text}

Form = Literal["json", "text"]


class EventLog(Closing):
    """Writes what is logged under LOGGER to `stream`, and to nothing else; one at a time.

    `form` is JSON for machines or plain lines for people. Nobody waits for a slow stream: up to `capacity` lines are
    held back, then some are dropped, and the next one says how many. docs/metrics.md has the fields.
    """

    def __init__(self, stream: TextIO, form: Form = "json", *, level: int = logging.INFO, capacity: int = 4096) -> None:
        self._logger = logging.getLogger(LOGGER)
        self._outlet = Outlet(stream, _FORMS[form], capacity=capacity)
        self._logger.setLevel(level)
        self._logger.propagate = False
        self._logger.addHandler(self._outlet)

    def write(self, event: Event, *, request_id: str = "") -> None:
        """Something has happened."""
        self._logger.log(event.level, event.event, extra={"happened": event, "request_id": request_id})

    def close(self) -> None:
        """Writes what there is, for two seconds at most, and ends."""
        self._logger.removeHandler(self._outlet)
        self._outlet.close()
