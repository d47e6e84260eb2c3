"""Whether to ask again, and when: no clock and no I/O."""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from ..errors import Overloaded, RateLimited, RunnerError, ServerUnreachable
from .options import ClientOptions

FIRST_PAUSE = 0.5  # seconds
LONGEST_PAUSE = 8.0

_SECONDS = re.compile(r"\d+(\.\d+)?", re.ASCII)


def pause(error: RunnerError, options: ClientOptions, *, attempt: int, chance: float) -> float | None:
    """How many seconds after attempt number `attempt`, from 1, there is another; None when there is none.

    A server's Retry-After is kept to exactly, or not waited for at all. `chance`, from 0 to 1, spreads the other
    pauses, so that many clients do not come back at once.
    """
    if attempt > options.retries or not _may_pass(error):
        return None
    asked = error.retry_after if isinstance(error, RateLimited | Overloaded) else None
    if asked is not None:
        return asked if asked <= options.most_wait else None
    longest: float = min(FIRST_PAUSE * 2.0 ** (attempt - 1), LONGEST_PAUSE)
    return longest * (1 + chance) / 2


def seconds_after(said: str, *, date: str, now: float) -> float | None:
    """The seconds that a Retry-After header says: a number, or a date, of which the past is 0. None for neither.

    A date is taken by the server's own clock where its Date header tells it, else by `now`, in seconds since 1970.
    """
    if _SECONDS.fullmatch(said):
        return float(said)
    until, sent = _moment(said), _moment(date)
    return None if until is None else max(until - (now if sent is None else sent), 0.0)


def _may_pass(error: RunnerError) -> bool:
    if isinstance(error, ServerUnreachable):
        return error.repeatable
    return isinstance(error, RateLimited | Overloaded)


def _moment(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


class Attempts:
    """Those of one call, counted."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._done = 0

    def after(self, error: RunnerError, *, chance: float) -> float:
        """The seconds until the next one; raises `error` when there is none."""
        self._done += 1
        seconds = pause(error, self._options, attempt=self._done, chance=chance)
        if seconds is None:
            raise error
        return seconds
