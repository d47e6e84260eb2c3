"""What a server does again and again goes on, whatever one time brings."""

import asyncio
import logging
from contextlib import suppress

import pytest

from llstore.runner.http.repeat import repeat
from llstore.runner.observe.log import LOGGER


def test_a_fault_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(LOGGER), "propagate", True)
    times = []

    async def act() -> None:
        times.append(1)
        if len(times) == 1:
            raise ValueError("the first time")

    async def run() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(repeat(act, 0.01), 0.5)

    asyncio.run(run())
    assert len(times) > 2
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "the first time" in str(record.exc_info)
