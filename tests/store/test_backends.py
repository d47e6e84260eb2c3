"""One conformance suite: what every bucket must do, on every kind of bucket."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mirror import mirror
from seaweed import SeaweedFS

from llstore.store.backends import Backend, Properties, Stat, open_backend, public
from llstore.store.backends.retry import Retrying
from llstore.store.backends.s3 import PART_SIZE, part_size
from llstore.store.backends.wrapper import Wrapper
from llstore.store.errors import BucketNotFound, InvalidUrl, KeyNotFound, Refused, Unreachable

MiB = 1024 * 1024
ROUNDED = 2.0  # seconds: a Date header knows no fractions, and a server's clock may be read a moment ago


KINDS = ["memory", "local", "s3", "s3-prefix", "filer", "filer-chunks"]
MIRRORS = ["mirror", "mirror-without-ranges"]


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """A bucket of every kind that can be written."""
    with closing(open_backend(_url(request, tmp_path))) as found:
        yield found


@pytest.fixture(params=KINDS + MIRRORS)
def readable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """A bucket of every kind. What is written to a mirror goes into the folder that the mirror shows."""
    if request.param not in MIRRORS:
        with closing(open_backend(_url(request, tmp_path))) as found:
            yield found
        return
    with mirror(tmp_path, ranges=request.param == "mirror") as server, closing(open_backend(server.url)) as shown:
        yield Published(open_backend(tmp_path.as_uri()), shown)


class Published:
    """A folder to write into, and a mirror of it to read from."""

    def __init__(self, folder: Backend, shown: Backend) -> None:
        self._folder, self._shown = folder, shown
        self.stat, self.read, self.clock, self.close = shown.stat, shown.read, shown.clock, shown.close
        self.list, self.delete = shown.list, folder.delete

    @property
    def properties(self) -> Properties:
        return self._shown.properties

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        self._folder.write(key, chunks, size=size)


def _url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return "memory://"
    if request.param == "local":
        return tmp_path.as_uri()
    if request.param == "filer":
        return filer_url(request)
    if request.param == "filer-chunks":
        return f"{filer_url(request)}?master={request.getfixturevalue('seaweed').master}"
    bucket = request.getfixturevalue("bucket")
    return bucket.replace("?", "/some/prefix?") if request.param == "s3-prefix" else bucket


def filer_url(request: pytest.FixtureRequest) -> str:
    server: SeaweedFS = request.getfixturevalue("seaweed")
    bucket: str = request.getfixturevalue("bucket")
    return server.filer_url(bucket.removeprefix("s3://").partition("?")[0])


def write(backend: Backend, key: str, data: bytes) -> None:
    backend.write(key, [data], size=len(data))


def read(backend: Backend, key: str, **span: int) -> bytes:
    return b"".join(backend.read(key, **span))


def test_what_was_written_is_read(readable: Backend) -> None:
    write(readable, "a/b", b"hello")
    assert read(readable, "a/b") == b"hello"


def test_an_empty_object_is_an_object(readable: Backend) -> None:
    write(readable, "empty", b"")
    assert readable.stat("empty").size == 0
    assert read(readable, "empty") == b""


def test_stat_tells_size_and_age(readable: Backend) -> None:
    before = time.time()
    write(readable, "a", b"12345")
    stat = readable.stat("a")
    assert (stat.key, stat.size) == ("a", 5)
    assert before - ROUNDED <= stat.modified <= time.time() + ROUNDED


@pytest.mark.parametrize("key", ["absent", "a", "a/b/c"])
def test_an_absent_key_is_not_found(readable: Backend, key: str) -> None:
    write(readable, "a/b", b"x")
    with pytest.raises(KeyNotFound):
        readable.stat(key)
    with pytest.raises(KeyNotFound):
        read(readable, key)


@pytest.mark.parametrize(
    ("start", "length", "expected"), [(2, None, b"234"), (0, 2, b"01"), (1, 3, b"123"), (3, 9, b"34")]
)
def test_a_range_is_read(readable: Backend, start: int, length: int | None, expected: bytes) -> None:
    write(readable, "a", b"01234")
    assert b"".join(readable.read("a", start=start, length=length)) == expected


def test_a_range_that_starts_after_the_end_is_empty_or_refused(readable: Backend) -> None:
    write(readable, "a", b"01234")
    write(readable, "empty", b"")
    for key in ("a", "empty"):
        try:
            assert read(readable, key, start=5, length=3) == b""
        except Refused:
            assert readable.properties.url.startswith("s3:")


def test_a_read_that_is_given_up_spoils_no_other(readable: Backend) -> None:
    write(readable, "large", bytes(range(256)) * 40_000)
    for _ in range(3):
        pieces = readable.read("large", start=256)
        assert next(pieces)[:2] == b"\x00\x01"
        pieces.close()  # type: ignore[attr-defined]
    assert read(readable, "large", start=1, length=3) == b"\x01\x02\x03"


def test_no_bytes_are_read_when_none_are_asked_for(readable: Backend) -> None:
    write(readable, "a", b"01234")
    assert read(readable, "a", start=1, length=0) == b""


def test_writing_again_replaces(readable: Backend) -> None:
    write(readable, "a", b"first")
    write(readable, "a", b"second one")
    assert read(readable, "a") == b"second one"


def test_a_large_object_comes_back_whole(readable: Backend) -> None:
    chunks = [bytes([number]) * (5 * MiB + number) for number in range(9)]
    readable.write("large", iter(chunks), size=sum(map(len, chunks)))
    assert read(readable, "large") == b"".join(chunks)
    assert read(readable, "large", start=PART_SIZE - 3, length=9) == b"".join(chunks)[PART_SIZE - 3 : PART_SIZE + 6]


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


class Cut(Wrapper):
    """Breaks its first listing off after so many objects."""

    def __init__(self, backend: Backend, after: int) -> None:
        super().__init__(backend)
        self._left: int | None = after

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        left, self._left = self._left, None
        for number, stat in enumerate(super().list(prefix, after=after)):
            if number == left:
                raise Unreachable("cut")
            yield stat


@pytest.mark.parametrize("prefix", ["", "a/", "a/2", "a/2/"])
def test_a_listing_that_breaks_off_anywhere_is_taken_up_there(backend: Backend, prefix: str) -> None:
    keys = ["a.b", "a/1", "a/2.x/1", "a/2/x", "a/2/y", "a0", "b/1/2", "c"]
    for key in keys:
        write(backend, key, b"x")
    wanted = [key for key in keys if key.startswith(prefix)]
    for cut in range(len(wanted)):
        patient = Retrying(Cut(backend, cut), sleep=lambda _: None)
        assert sorted(stat.key for stat in patient.list(prefix)) == wanted, f"cut after {cut}"


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


def test_the_clock_is_a_clock(readable: Backend) -> None:
    before = readable.clock()
    write(readable, "a", b"x")
    assert before - ROUNDED <= readable.stat("a").modified <= readable.clock() + ROUNDED
    assert readable.clock() <= time.time() + ROUNDED


def test_the_url_is_printable(readable: Backend) -> None:
    assert "loopback-only" not in readable.properties.url


@pytest.fixture(params=["local", "s3", "filer"])
def nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return (tmp_path / "absent").as_uri()
    server: SeaweedFS = request.getfixturevalue("seaweed")
    name = f"absent-{uuid.uuid4().hex[:8]}"
    return server.filer_url(name) if request.param == "filer" else server.url(name)


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


@pytest.mark.parametrize(
    "url", ["s3://bucket?endpoint=http://127.0.0.1:1", "seaweedfs://127.0.0.1:1/buckets/b", "https://127.0.0.1:1/m"]
)
def test_a_server_that_is_not_there_is_unreachable(seaweed: SeaweedFS, url: str) -> None:
    with closing(open_backend(url)) as backend, pytest.raises(Unreachable):
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
        "seaweedfs://",
        "seaweedfs:///buckets/models",
        "seaweedfs://host:port/",
        "seaweedfs://host/?query=1",
        "seaweedfs://host/path?master=",
        "seaweedfs://host/path?master=host",
        "seaweedfs://key:secret@host:8888/buckets/models",
        "https://",
        "https:///path",
        "http://host:99999/",
        "https://key:secret@host/mirror",
        "https://key:secret@host:port/mirror",
        "https://host/mirror?sig=secret with a space",
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidUrl) as failed:
        open_backend(url)
    assert "secret" not in str(failed.value) + failed.value.hint


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host/path?sig=secret", "https://host/path"),
        ("HTTPS://host?sig=secret", "HTTPS://host"),
        ("https://key:secret@host/path", "https://host/path"),
        ("s3://bucket/prefix?endpoint=http://host:1", "s3://bucket/prefix?endpoint=http://host:1"),
        ("s3://bucket?endpoint=http://key:secret@host", "s3://bucket?endpoint=http://host"),
        ("seaweedfs://host:8888/path", "seaweedfs://host:8888/path"),
        ("file:///folder", "file:///folder"),
    ],
)
def test_a_public_url_holds_no_secret(url: str, expected: str) -> None:
    assert public(url) == expected


def test_parts_stay_within_the_limits_of_s3() -> None:
    for size in (PART_SIZE + 1, 70 * 10**9, 5 * 1024**4):
        assert -(-size // part_size(size)) <= 10_000
    assert part_size(70 * 10**9) == PART_SIZE
