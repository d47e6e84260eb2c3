"""Whatever network and server do to a transfer: the right bytes in the end, or one clear error; never a hang."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from faulty import (
    Cut,
    Delay,
    Drip,
    Fault,
    Flip,
    Proxy,
    Refuse,
    Reorder,
    Reset,
    Rule,
    Shorten,
    Stall,
    Status,
    Whole,
    faulty,
)
from seaweed import SeaweedFS

from llstore.store import Digest, PutRequest, Role, Settings, Store
from llstore.store.blocks import BLOCK_SIZE
from llstore.store.errors import Damaged, Refused, Unreachable
from llstore.store.layout import blob_key
from llstore.store.transfer.download import Pace
from llstore.store.transfer.spans import ATTEMPTS

# `make soak` does it with many seeds.
SEEDS = range(int(os.environ.get("LLSTORE_SEEDS", "1")))
BLOCKS = 8
TIMEOUT = 30.0

DOWN: dict[str, Fault] = {
    "delay": Delay(0.3),
    "drip": Drip(400_000),
    "stall": Stall(),
    "cut": Cut(100_000),
    "shorten": Shorten(1000),
    "flip": Flip(),
    "reorder": Reorder(),
    "whole": Whole(),
    "500": Status(500),
    "503": Status(503, "SlowDown"),
    "reset": Reset(),
    "refuse": Refuse(),
}
UP: dict[str, Fault] = {
    "delay": Delay(0.3),
    "cut": Cut(100_000, upload=True),
    "500": Status(500),
    "500 though done": Status(500, carried_out=True),
    "503": Status(503, "SlowDown"),
    "reset": Reset(),
    "reset though done": Reset(carried_out=True),
    "refuse": Refuse(),
}


@dataclass(frozen=True)
class Lab:
    """An empty bucket, seen directly and through a faulty proxy; `source` is a file of eight blocks and a bit."""

    proxy: Proxy
    direct: str
    through: str
    data: bytes
    source: Path

    @property
    def digest(self) -> Digest:
        return Digest.of(self.data)

    def machine(self, folder: Path, url: str, timeout: float = TIMEOUT) -> Settings:
        return Settings(cache=folder / "cache", data=folder / "data", url=url, pace=Pace(timeout=timeout))


@contextmanager
def opened(seaweed: SeaweedFS, kind: str, source: Path) -> Iterator[Lab]:
    bucket = seaweed.bucket(f"lab-{uuid.uuid4().hex[:12]}")
    name = bucket.removeprefix("s3://").partition("?")[0]
    filer = seaweed.filer_url(name)
    host = filer.removeprefix("seaweedfs://").partition("/")[0]
    with faulty(seaweed.endpoint if kind == "s3" else f"http://{host}") as proxy:
        through = (
            f"s3://{name}?endpoint={proxy.endpoint}" if kind == "s3" else f"seaweedfs://{proxy.netloc}/buckets/{name}"
        )
        yield Lab(proxy, bucket if kind == "s3" else filer, through, source.read_bytes(), source)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lab") / "source"
    path.write_bytes(os.urandom(BLOCKS * BLOCK_SIZE + 12345))
    return path


@pytest.fixture(params=["s3", "filer"])
def empty(request: pytest.FixtureRequest, seaweed: SeaweedFS, source: Path) -> Iterator[Lab]:
    with opened(seaweed, request.param, source) as found:
        yield found


@pytest.fixture(scope="module", params=["s3", "filer"])
def stored(request: pytest.FixtureRequest, seaweed: SeaweedFS, source: Path, tmp_path_factory: object) -> Iterator[Lab]:
    with opened(seaweed, request.param, source) as found:
        put(found, tmp_path_factory.mktemp("putter"), found.direct)  # type: ignore[attr-defined]
        yield found


@pytest.fixture
def lab(stored: Lab) -> Iterator[Lab]:
    """The object is in the bucket, and nothing is wrong yet."""
    stored.proxy.plan.set()
    yield stored
    stored.proxy.plan.set()


def put(lab: Lab, folder: Path, url: str) -> None:
    with Store(lab.machine(folder, url)) as store:
        store.put(PutRequest(lab.source, role=Role.OTHER))


def got(lab: Lab, folder: Path) -> int:
    """Get the object through the proxy, check every byte; returns how many bytes were fetched."""
    before = lab.proxy.count(path="/blobs/")
    with Store(lab.machine(folder, lab.through)) as store:
        result = store.get(lab.digest)
    assert lab.proxy.count(path="/blobs/") - before < ATTEMPTS * (BLOCKS + 1)
    assert result.path.read_bytes() == lab.data
    return result.fetched_bytes


@pytest.mark.parametrize("fault", DOWN)
def test_a_get_survives_a_fault_on_its_first_range(lab: Lab, tmp_path: Path, fault: str) -> None:
    lab.proxy.plan.set(Rule(DOWN[fault], path="/blobs/", ranged=True, first=1))
    fetched = got(lab, tmp_path / "two")
    if fault == "flip":
        assert fetched == len(lab.data) + BLOCK_SIZE


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", DOWN)
def test_a_get_survives_a_fault_on_a_tenth_of_all_ranges(lab: Lab, tmp_path: Path, fault: str, seed: int) -> None:
    lab.proxy.plan._seed = seed
    lab.proxy.plan.set(Rule(DOWN[fault], path="/blobs/", ranged=True, rate=0.1))
    got(lab, tmp_path / "two")


@pytest.mark.parametrize("fault", ["cut", "500", "503", "reset", "refuse"])
def test_the_small_requests_of_a_get_are_tried_again_too(lab: Lab, tmp_path: Path, fault: str) -> None:
    lab.proxy.plan.set(Rule(Cut(5) if fault == "cut" else DOWN[fault], ranged=False, rate=0.3))
    got(lab, tmp_path / "two")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", UP)
def test_a_put_survives_a_fault_on_a_tenth_of_all_writes(empty: Lab, tmp_path: Path, fault: str, seed: int) -> None:
    empty.proxy.plan._seed = seed
    rules = [Rule(UP[fault], method=method, rate=0.1) for method in ("PUT", "POST")]
    empty.proxy.plan.set(*rules)
    put(empty, tmp_path / "one", empty.through)
    empty.proxy.plan.set()
    got(empty, tmp_path / "two")


def test_a_bit_flipped_on_the_way_up_is_found_by_a_verifying_put(empty: Lab, tmp_path: Path) -> None:
    empty.proxy.plan.set(Rule(Flip(upload=True, offset=5_000_000), method="PUT", path="/blobs/", first=1))
    with Store(empty.machine(tmp_path / "one", empty.through)) as store:
        with pytest.raises(Damaged, match="stored other bytes than were sent"):
            store.put(PutRequest(empty.source, role=Role.OTHER, verify=True))
        assert store.models() == []
        assert not store.put(PutRequest(empty.source, role=Role.OTHER, verify=True)).deduplicated
    assert got(empty, tmp_path / "two") == len(empty.data)


def test_credentials_that_expire_are_one_clear_error(lab: Lab, tmp_path: Path) -> None:
    lab.proxy.plan.set(Rule(Status(403, "ExpiredToken"), path="/blobs/", ranged=True, nth=5))
    with pytest.raises(Refused):
        got(lab, tmp_path / "two")
    lab.proxy.plan.set()
    assert got(lab, tmp_path / "two") < len(lab.data)


def test_a_store_that_is_down_for_good_is_one_clear_error_in_time(lab: Lab, tmp_path: Path) -> None:
    lab.proxy.plan.set(Rule(Status(503, "SlowDown"), path="/blobs/", ranged=True))
    with Store(lab.machine(tmp_path, lab.through, timeout=4.0)) as store, pytest.raises(Unreachable) as failure:
        store.get(lab.digest)
    assert "\n" not in str(failure.value)


def test_an_object_swapped_while_it_is_read_is_refused(empty: Lab, tmp_path: Path) -> None:
    put(empty, tmp_path / "one", empty.direct)
    other, key = bytes(len(empty.data)), blob_key(empty.digest)
    swapped: list[bool] = []

    def swap(step: str, done: int, total: int) -> None:
        if step == "download" and done and not swapped:
            with Store(empty.machine(tmp_path / "three", empty.direct)) as store:
                store.bucket.backend.write(key, [other], size=len(other))
            swapped.append(True)

    empty.proxy.plan.set(Rule(Drip(5_000_000), path="/blobs/", ranged=True))
    with Store(empty.machine(tmp_path / "two", empty.through)) as store, pytest.raises(Damaged, match="wrong bytes"):
        store.get(empty.digest, swap)
    assert not [path for path in (tmp_path / "two/cache/blobs").rglob("*") if path.is_file()]
