"""What is done again and again beside the requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

from ..observe.log import LOGGER


async def repeat(act: Callable[[], Awaitable[object]], seconds: float) -> NoReturn:
    """Calls `act` now and whenever it has been over for so long. A fault in it is logged, and ends nothing."""
    while True:
        try:
            await act()
        except Exception:
            logging.getLogger(LOGGER).exception("a fault in what is done every %g s", seconds)
        await asyncio.sleep(seconds)
