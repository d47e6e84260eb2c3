"""A server that the tests of a file share."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import Server, serving


@pytest.fixture(scope="session")
def server(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """SmolLM2 without keys: four slots of 1024 tokens, two may wait."""
    home = tmp_path_factory.mktemp("served")
    with serving(home, smollm2, "--parallel", "4", "--ctx", "1024", "--queue", "8") as found:
        yield found


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """A client of that server."""
    with server.client() as client:
        yield client
