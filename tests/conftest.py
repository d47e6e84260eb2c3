"""What all tests share: models, a SeaweedFS, and a machine of one's own."""

import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import models
import pytest
import tiny as tiny_model
from forked import Forks
from hypothesis import settings as hypothesis_settings
from seaweed import SeaweedFS, seaweedfs

from llstore.store import Name, PutRequest, Role, Settings, Store

# Several tests run at once: a thread that spins while it waits keeps a core from what it waits for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A shell that starts the tests in the background has them ignore Ctrl-C, and so what they start: it must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

# An example that takes long on a busy machine is not wrong.
hypothesis_settings.register_profile("patient", deadline=None)
hypothesis_settings.load_profile("patient")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct Q4_1."""
    return models.fetch("smollm2")


@pytest.fixture(scope="session")
def gemma() -> Path:
    """gemma-3-270m Q4_K_M."""
    return models.fetch("gemma")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF of random weights, a few hundred kilobytes."""
    return tiny_model.write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real SeaweedFS for the whole session."""
    with seaweedfs(tmp_path_factory.mktemp("seaweed")) as server:
        os.environ.update(server.environment)
        yield server


@pytest.fixture
def bucket(seaweed: SeaweedFS) -> str:
    """The store URL of a fresh, empty bucket."""
    return seaweed.bucket(f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The LLSTORE_HOME of a machine that has never seen llstore."""
    return tmp_path / "home"


@pytest.fixture
def settings(home: Path) -> Settings:
    """The embedded store of that machine."""
    return Settings(cache=home / "cache", data=home / "data")


@pytest.fixture
def put(settings: Settings) -> Callable[..., str]:
    """Stores a file from that machine, and says its digest: for tests of what is done with it afterwards.

    As the command does it, but without a process, which takes a hundred times as long.
    """

    def run(path: Path, *, name: str = "", role: Role | None = None, url: str = "", **labels: str) -> str:
        request = PutRequest(path, name=Name.parse(name) if name else None, role=role, labels=labels)
        with Store(replace(settings, url=url) if url else settings) as store:
            return str(store.put(request).manifest.model)

    return run


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Whence the command is forked."""
    with Forks() as forks:
        yield forks


@pytest.fixture
def llstore(home: Path, tmp_path: Path, forks: Forks) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command as a person would, in a process of its own, with that LLSTORE_HOME."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LLSTORE_HOME": str(home), **environment}
        return forks.run([*map(str, arguments)], env=env, cwd=tmp_path, timeout=120)

    return run
