"""What a server does again and again goes on, whatever one time brings."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from llstore.runner.http.repeat import repeat
from llstore.runner.observe.log import LOGGER


class Enough(BaseException):
    """It went on."""


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What the server logs."""
    found: list[logging.LogRecord] = []
    handler, logger = logging.Handler(), logging.getLogger(LOGGER)
    handler.emit = found.append
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def test_a_fault_is_logged_and_ends_nothing(records: list[logging.LogRecord]) -> None:
    times = []

    async def act() -> None:
        times.append(1)
        if len(times) == 1:
            raise ValueError("the first time")
        if len(times) == 3:
            raise Enough

    with pytest.raises(Enough):
        asyncio.run(repeat(act, 0.01))
    (record,) = [each for each in records if each.levelno == logging.ERROR]
    assert "the first time" in str(record.exc_info)
