"""Both clients, and a server for them that says what was written down."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from clients import awaited, waiting
from scripted import Scripted, scripted

from llstore.runner.client import ClientOptions

Made = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    """The seconds that the client slept between attempts."""
    return []


@pytest.fixture(params=[waiting, awaited], ids=["waiting", "awaited"])
def made(request: pytest.FixtureRequest, server: Scripted, waits: list[float]) -> Iterator[Made]:
    """Makes a client of either kind, with these options."""
    with ExitStack() as stack:

        def make(*, url: str = "", **options: Any) -> Any:
            url = url or f"http://127.0.0.1:{server.port}"
            return stack.enter_context(request.param(url, ClientOptions(**options), waits.append))

        yield make


@pytest.fixture
def client(made: Made) -> Any:
    return made()
