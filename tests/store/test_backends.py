"""One conformance suite: what every bucket must do, on every kind of bucket."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from seaweed import SeaweedFS

from llstore.store.backends import Backend, open_backend
from llstore.store.backends.s3 import PART_SIZE, part_size
from llstore.store.errors import BucketNotFound, InvalidUrl, KeyNotFound, Refused, Unreachable

MiB = 1024 * 1024


@pytest.fixture(params=["memory", "local", "s3", "s3-prefix"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with closing(open_backend(_url(request, tmp_path))) as found:
        yield found


def _url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return "memory://"
    if request.param == "local":
        return tmp_path.as_uri()
    bucket = request.getfixturevalue("bucket")
    return bucket.replace("?", "/some/prefix?") if request.param == "s3-prefix" else bucket


def write(backend: Backend, key: str, data: bytes) -> None:
    backend.write(key, [data], size=len(data))


def read(backend: Backend, key: str, **span: int) -> bytes:
    return b"".join(backend.read(key, **span))


def test_what_was_written_is_read(backend: Backend) -> None:
    write(backend, "a/b", b"hello")
    assert read(backend, "a/b") == b"hello"


def test_an_empty_object_is_an_object(backend: Backend) -> None:
    write(backend, "empty", b"")
    assert backend.stat("empty").size == 0
    assert read(backend, "empty") == b""


def test_stat_tells_size_and_age(backend: Backend) -> None:
    write(backend, "a", b"12345")
    stat = backend.stat("a")
    assert (stat.key, stat.size) == ("a", 5)
    assert abs(stat.modified - time.time()) < 60


@pytest.mark.parametrize("key", ["absent", "a", "a/b/c"])
def test_an_absent_key_is_not_found(backend: Backend, key: str) -> None:
    write(backend, "a/b", b"x")
    with pytest.raises(KeyNotFound):
        backend.stat(key)
    with pytest.raises(KeyNotFound):
        read(backend, key)


@pytest.mark.parametrize(
    ("start", "length", "expected"), [(2, None, b"234"), (0, 2, b"01"), (1, 3, b"123"), (3, 9, b"34")]
)
def test_a_range_is_read(backend: Backend, start: int, length: int | None, expected: bytes) -> None:
    write(backend, "a", b"01234")
    assert b"".join(backend.read("a", start=start, length=length)) == expected


def test_no_bytes_are_read_when_none_are_asked_for(backend: Backend) -> None:
    write(backend, "a", b"01234")
    assert read(backend, "a", start=1, length=0) == b""


def test_writing_again_replaces(backend: Backend) -> None:
    write(backend, "a", b"first")
    write(backend, "a", b"second one")
    assert read(backend, "a") == b"second one"


def test_a_large_object_comes_back_whole(backend: Backend) -> None:
    chunks = [bytes([number]) * (5 * MiB + number) for number in range(9)]
    backend.write("large", iter(chunks), size=sum(map(len, chunks)))
    assert read(backend, "large") == b"".join(chunks)
    assert read(backend, "large", start=PART_SIZE - 3, length=9) == b"".join(chunks)[PART_SIZE - 3 : PART_SIZE + 6]


@pytest.mark.parametrize("size", [100, 40 * MiB])
def test_a_write_whose_source_fails_leaves_nothing(backend: Backend, size: int) -> None:
    def failing() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * (size // 4)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        backend.write("broken", failing(), size=size)
    with pytest.raises(KeyNotFound):
        backend.stat("broken")
    assert list(backend.list("")) == []


def test_a_failed_write_keeps_what_was_there(backend: Backend) -> None:
    write(backend, "a", b"old")

    def failing() -> Iterator[bytes]:
        yield b"new"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        backend.write("a", failing(), size=6)
    assert read(backend, "a") == b"old"


def test_listing_is_ordered_and_starts_after_a_key(backend: Backend) -> None:
    for key in ("j/3", "j/1", "j/2.json", "j/2", "k/1"):
        write(backend, key, key.encode())
    assert [stat.key for stat in backend.list("j/")] == ["j/1", "j/2", "j/2.json", "j/3"]
    assert [stat.key for stat in backend.list("j/", after="j/2")] == ["j/2.json", "j/3"]
    assert [stat.size for stat in backend.list("j/", after="j/2.json")] == [3]
    assert list(backend.list("nothing/")) == []


def test_a_listing_reaches_into_folders(backend: Backend) -> None:
    for key in ("a/b/1", "a/c/2", "d"):
        write(backend, key, b"x")
    assert [stat.key for stat in backend.list("a/")] == ["a/b/1", "a/c/2"]
    assert [stat.key for stat in backend.list("")] == ["a/b/1", "a/c/2", "d"]


def test_a_listing_longer_than_a_page_is_whole(backend: Backend) -> None:
    keys = [f"many/{number:04}" for number in range(1100)]
    for key in keys:
        write(backend, key, b"x")
    assert [stat.key for stat in backend.list("many/")] == keys


def test_a_deleted_object_is_gone_and_deleting_again_is_no_error(backend: Backend) -> None:
    write(backend, "a/b", b"x")
    backend.delete("a/b")
    backend.delete("a/b")
    with pytest.raises(KeyNotFound):
        backend.stat("a/b")


def test_the_clock_is_a_clock(backend: Backend) -> None:
    assert abs(backend.clock() - time.time()) < 5
    write(backend, "a", b"x")
    assert abs(backend.clock() - backend.stat("a").modified) < 5


def test_the_url_is_printable(backend: Backend) -> None:
    assert "loopback-only" not in backend.properties.url


@pytest.fixture(params=["local", "s3"])
def nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return (tmp_path / "absent").as_uri()
    server: SeaweedFS = request.getfixturevalue("seaweed")
    return server.url(f"absent-{uuid.uuid4().hex[:8]}")


@pytest.mark.parametrize(
    "verb",
    [
        lambda backend: read(backend, "llstore.json"),
        lambda backend: list(backend.list("journal/")),
    ],
)
def test_a_bucket_that_is_not_there_is_said_to_be(nowhere: str, verb: Callable[[Backend], object]) -> None:
    with closing(open_backend(nowhere)) as backend, pytest.raises(BucketNotFound):
        verb(backend)


def test_wrong_credentials_are_refused(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with closing(open_backend(bucket)) as backend, pytest.raises(Refused, match="SignatureDoesNotMatch"):
        read(backend, "llstore.json")


def test_a_server_that_is_not_there_is_unreachable(seaweed: SeaweedFS) -> None:
    with closing(open_backend("s3://bucket?endpoint=http://127.0.0.1:1")) as backend, pytest.raises(Unreachable):
        read(backend, "llstore.json")


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "ftp://host/path",
        "file://relative/path",
        "s3://",
        "s3://bucket?unknown=1",
        "s3://bucket?endpoint=",
        "s3://bucket#fragment",
        "s3://bucket\n",
        "file:///folder?query=1",
        "s3://key:secret@bucket",
        "s3://bucket?endpoint=http://key:secret@host:1",
        "s3://bucket?endpoint=not-a-url",
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidUrl):
        open_backend(url)


def test_parts_stay_within_the_limits_of_s3() -> None:
    for size in (PART_SIZE + 1, 70 * 10**9, 5 * 1024**4):
        assert -(-size // part_size(size)) <= 10_000
    assert part_size(70 * 10**9) == PART_SIZE
