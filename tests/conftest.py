"""What all tests share: models, a SeaweedFS, and a machine of one's own."""

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import forked
import models
import pytest
import tiny as tiny_model
from forked import Forks
from hypothesis import settings as hypothesis_settings
from known_kernels import place_known_kernels
from seaweed import SeaweedFS, shared_seaweedfs

from llstore.store import Name, PutRequest, Role, Settings, Store

# Several tests run at once: a thread that spins while it waits keeps a core from what it waits for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A shell that starts the tests in the background has them ignore Ctrl-C, and so what they start: it must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

# An example that takes long on a busy machine is not wrong.
hypothesis_settings.register_profile("patient", deadline=None)
hypothesis_settings.load_profile("patient")


SHARED_MEMORY, ROOM = Path("/dev/shm"), 8 << 30  # bytes that a run may leave there


def pytest_configure(config: pytest.Config) -> None:
    """Puts temporary files into memory where there is much of it: each put and get waits for the disk otherwise."""
    roomy = SHARED_MEMORY.is_dir() and min(shutil.disk_usage(SHARED_MEMORY).free, _available()) > 2 * ROOM
    if roomy and not config.option.basetemp:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(SHARED_MEMORY))


def _available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


# A file keeps to one process: what takes long is begun first, lest one of them goes on when all others have ended.
LONGEST = (
    *("runner/test_engine.py", "lab/test_faults.py", "http/test_clients.py", "runner/test_generate.py"),
    *("lab/test_crashes.py", "cli/test_batch.py", "cli/test_bad_transfers.py", "http/test_drain.py", "test_wheel.py"),
    *("cli/test_ci_story.py", "lab/test_kills.py", "lab/test_resume.py", "http/test_openapi.py", "store/test_store.py"),
    *("cli/test_replay.py", "store/test_gguf_vocabs.py", "store/test_download.py", "store/test_collector.py"),
    *("cli/test_bad_input.py", "cli/test_acceptance.py", "store/test_fsck.py", "store/test_s3_parts.py"),
    *("cli/test_catalog_commands.py", "cli/test_ci_recipes.py", "http/test_faults.py", "http/test_served_receipts.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Brings the files of LONGEST to the front."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


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
    """A real SeaweedFS for the whole session, shared by the processes that run tests at once."""
    base = tmp_path_factory.getbasetemp()
    with shared_seaweedfs((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "seaweed") as server:
        os.environ.update(server.environment)
        yield server


@pytest.fixture
def bucket(seaweed: SeaweedFS) -> str:
    """The store URL of a fresh, empty bucket."""
    return seaweed.bucket(f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The LLSTORE_HOME of a machine that has never seen a model; what its kernels can do is known."""
    return place_known_kernels(tmp_path / "home")


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
def forks() -> Forks:
    """Whence the command is forked."""
    return forked.forks()


@pytest.fixture
def llstore(home: Path, tmp_path: Path, forks: Forks) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command as a person would, in a process of its own, with that LLSTORE_HOME."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LLSTORE_HOME": str(home), **environment}
        return forks.run([*map(str, arguments)], env=env, cwd=tmp_path, timeout=120)

    return run
