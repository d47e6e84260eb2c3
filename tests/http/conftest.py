"""A server that the tests of a file share."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tiny as tiny_model
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


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of random weights with a context of 8192 tokens: an answer may take some seconds."""
    return tiny_model.write_tiny(tmp_path_factory.mktemp("wide") / "wide.gguf", context=8192)
