"""A get that was killed goes on where it stopped; many that ask for the same blob fetch it once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import shim
from faulty import Drip, Proxy, Rule, faulty
from seaweed import SeaweedFS
from waiting import until

from llstore.store import Digest, PutRequest, Role, Settings, Store
from llstore.store.blocks import BLOCK_SIZE

# `make soak` takes 1 GB.
SIZE = int(os.environ.get("LLSTORE_LAB_BYTES", str(14 * BLOCK_SIZE)))
CLIENTS = 8


@pytest.fixture(scope="module")
def proxied(seaweed: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, str, Digest]]:
    folder = tmp_path_factory.mktemp("resume")
    with (folder / "source").open("wb") as file:
        for _ in range(0, SIZE, BLOCK_SIZE):
            file.write(os.urandom(BLOCK_SIZE))
    seaweed.bucket("resume")
    with Store(Settings(cache=folder / "cache", data=folder / "data", url=seaweed.url("resume"))) as store:
        digest = store.put(PutRequest(folder / "source", role=Role.OTHER)).manifest.model
    with faulty(seaweed.endpoint) as proxy:
        yield proxy, f"s3://resume?endpoint={proxy.endpoint}", digest


@contextmanager
def getting(home: Path, url: str, digest: Digest, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`llstore get` in a process of its own."""
    command = [sys.executable, "-m", "llstore.cli", "get", digest.hex, "--store", url, "--json"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "LLSTORE_HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def landed(home: Path) -> int:
    """How many blocks of the part file were written to their end."""
    for part in (home / "cache/partial").glob("*.part"):
        with part.open("rb") as file:
            return sum(any(os.pread(file.fileno(), 16, end - 16)) for end in range(BLOCK_SIZE, SIZE + 1, BLOCK_SIZE))
    return 0


def finished(process: subprocess.Popen[str]) -> dict[str, object]:
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    return json.loads(stdout)


def test_a_get_killed_at_70_percent_fetches_at_most_35_more(proxied: tuple[Proxy, str, Digest], home: Path) -> None:
    proxy, url, digest = proxied
    proxy.plan.set(Rule(Drip(20_000_000), path="/blobs/", ranged=True))
    with getting(home, url, digest) as process:
        until(lambda: landed(home) >= 0.7 * SIZE / BLOCK_SIZE, process=process)
        process.kill()
        process.wait()
    proxy.plan.set()
    assert not [path for path in (home / "cache/blobs").rglob("*") if path.is_file()]
    proxy.log.clear()
    with getting(home, url, digest) as process:
        answer = finished(process)
    assert proxy.sent(method="GET", path="/blobs/") <= 0.35 * SIZE
    assert answer["fetched_bytes"] <= 0.35 * SIZE
    assert Digest.of(Path(str(answer["path"])).read_bytes()) == digest
    assert not list((home / "cache/partial").iterdir())


def traffic(proxied: tuple[Proxy, str, Digest], home: Path, **environment: str) -> float:
    """Eight processes ask for the same cold blob; how many times its bytes went over the wire."""
    proxy, url, digest = proxied
    proxy.plan.set()
    proxy.log.clear()
    processes = []
    try:
        for _ in range(CLIENTS):
            processes.append(getting(home, url, digest, **environment))
        running = [one.__enter__() for one in processes]
        for answer in [finished(process) for process in running]:
            assert Digest.of(Path(str(answer["path"])).read_bytes()) == digest
    finally:
        for one in processes:
            one.__exit__(None, None, None)
    return proxy.sent(method="GET", path="/blobs/") / SIZE


def test_eight_that_ask_at_once_fetch_once(proxied: tuple[Proxy, str, Digest], home: Path) -> None:
    assert traffic(proxied, home) <= 1.2


def test_without_locks_they_waste_at_worst_and_are_right(
    proxied: tuple[Proxy, str, Digest], home: Path, tmp_path: Path
) -> None:
    if shim.unavailable():
        pytest.skip(shim.unavailable())
    home.mkdir(exist_ok=True)
    assert traffic(proxied, home, **shim.environment(tmp_path, root=home, locks=False)) <= CLIENTS
    assert len([path for path in (home / "cache/blobs").rglob("*") if path.is_file()]) == 1
