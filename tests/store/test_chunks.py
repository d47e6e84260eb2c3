"""Large reads go past the filer where chunks are plain, and through it where anything is in the way."""

import os
from collections.abc import Iterator
from contextlib import closing

import pytest
from faulty import Rule, Status, faulty
from seaweed import SeaweedFS
from waiting import until

from llstore.store.backends import Backend, open_backend
from llstore.store.backends.chunks import Chunk, plain_chunks
from llstore.store.errors import Unreachable

MiB = 1024 * 1024
DATA = os.urandom(21 * MiB + 5)


def entry(offset: int, size: int, **more: object) -> dict[str, object]:
    # The filer leaves out an offset of 0.
    return {"file_id": f"3,{offset:x}", "size": size, **({"offset": offset} if offset else {}), **more}


def document(*entries: dict[str, object], size: int = 8) -> dict[str, object]:
    return {"FileSize": size, "chunks": list(entries)}


def test_chunks_come_in_the_order_of_their_bytes() -> None:
    found = plain_chunks(document(entry(5, 3), entry(0, 5)))
    assert found == (Chunk(0, 5, "3,0"), Chunk(5, 3, "3,5"))


@pytest.mark.parametrize(
    "found",
    [
        document(entry(0, 5), entry(6, 2)),  # a gap
        document(entry(0, 5), entry(4, 4)),  # one over another
        document(entry(0, 5), entry(5, 2)),  # too short
        document(entry(0, 8, cipher_key="x")),
        document(entry(0, 8, is_compressed=True)),
        document(entry(0, 8, is_chunk_manifest=True)),
        document({"size": 8}),
        {"FileSize": 8, "Content": "aGVsbG8=", "chunks": None},
        {"FileSize": "many"},
        None,
        [],
    ],
)
def test_what_only_the_filer_can_put_together_is_left_to_it(found: object) -> None:
    assert plain_chunks(found) == ()


@pytest.fixture(params=["s3", "filer"])
def written_by(request: pytest.FixtureRequest, seaweed: SeaweedFS, bucket: str) -> str:
    name = bucket.removeprefix("s3://").partition("?")[0]
    with closing(open_backend(bucket if request.param == "s3" else seaweed.filer_url(name))) as backend:
        backend.write("large", [DATA], size=len(DATA))
    return name


@pytest.fixture
def backend(seaweed: SeaweedFS, written_by: str) -> Iterator[Backend]:
    with closing(open_backend(seaweed.chunks_url(written_by))) as found:
        yield found


def read(backend: Backend, start: int, length: int) -> bytes:
    return b"".join(backend.read("large", start=start, length=length))


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, len(DATA)), (0, 8 * MiB), (8 * MiB, 8 * MiB), (3 * MiB + 1, 9 * MiB), (20 * MiB, 2 * MiB), (0, 40 * MiB)],
)
def test_a_range_is_right_wherever_it_lies(backend: Backend, start: int, length: int) -> None:
    assert read(backend, start, length) == DATA[start : start + length]


def test_the_filer_carries_none_of_the_bytes(seaweed: SeaweedFS, written_by: str) -> None:
    with faulty(f"http://{seaweed.filer}") as proxy:
        url = f"seaweedfs://{proxy.netloc}/buckets/{written_by}?master={seaweed.master}"
        with closing(open_backend(url)) as backend:
            assert read(backend, 0, len(DATA)) == DATA
        assert proxy.sent(method="GET") < MiB


@pytest.mark.parametrize("master", ["127.0.0.1:1", "filer"])
def test_a_master_that_is_none_costs_nothing_but_speed(seaweed: SeaweedFS, written_by: str, master: str) -> None:
    address = seaweed.filer if master == "filer" else master
    with closing(open_backend(f"{seaweed.filer_url(written_by)}?master={address}")) as backend:
        assert read(backend, 0, 9 * MiB) == DATA[: 9 * MiB]


def test_an_object_written_again_is_read_as_it_is_now(backend: Backend) -> None:
    assert read(backend, 0, 8 * MiB) == DATA[: 8 * MiB]
    other = os.urandom(10 * MiB)
    backend.write("large", [other], size=len(other))
    # The old chunks are there for a while yet.
    assert read(backend, 0, 4 * MiB) in (DATA[: 4 * MiB], other[: 4 * MiB])
    until(lambda: read(backend, 0, 4 * MiB) == other[: 4 * MiB])
    assert read(backend, 0, 10 * MiB) == other


def test_an_object_written_again_in_the_middle_of_a_read_is_no_mixture(backend: Backend) -> None:
    with closing(backend.read("large", start=0, length=20 * MiB)) as pieces:
        begun = next(pieces)
        other = os.urandom(21 * MiB)
        backend.write("large", [other], size=len(other))
        until(lambda: read(backend, 8 * MiB, 4 * MiB) == other[8 * MiB : 12 * MiB])
        with pytest.raises(Unreachable, match=r"large in seaweedfs://.* was written again while it was read"):
            b"".join([begun, *pieces])


def test_a_volume_that_refuses_is_gone_without(seaweed: SeaweedFS, written_by: str) -> None:
    with faulty(f"http://{seaweed.master}") as proxy:
        proxy.plan.set(Rule(Status(500), path="/dir/lookup"))
        with closing(open_backend(f"{seaweed.filer_url(written_by)}?master={proxy.netloc}")) as backend:
            assert read(backend, 0, len(DATA)) == DATA
