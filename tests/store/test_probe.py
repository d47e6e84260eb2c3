"""The probe: what a good bucket shows, and that each broken promise is found."""

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from llstore.store.backends import Backend, MemoryBackend, Stat, open_backend
from llstore.store.errors import BucketNotFound, KeyNotFound, Refused, Unreachable
from llstore.store.probe import Finding, nowhere, probe


def verdicts(backend: Backend, **others: object) -> dict[str, Finding]:
    return {finding.name: finding for finding in probe(backend, **others)}


@pytest.fixture(params=["memory", "local", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("bucket"))
    return "memory://" if request.param == "memory" else tmp_path.as_uri()


def test_a_good_bucket_keeps_every_promise_and_is_left_as_it_was(url: str) -> None:
    other = nowhere(url)
    with closing(open_backend(url)) as backend:
        findings = probe(backend, elsewhere=open_backend(other) if other else None)
        assert {finding.name for finding in findings if not finding.ok} <= {"missing bucket"}, findings
        assert not [finding for finding in findings if finding.ok is False]
        assert (not other) == any(finding.ok is None for finding in findings)
        assert list(backend.list("")) == []


def test_the_bucket_that_nobody_made_has_a_name_that_fits() -> None:
    assert nowhere("memory://") is None
    assert nowhere("https://host/path?secret") is None
    made = nowhere(f"s3://{'a' * 63}/prefix?endpoint=http://h:1")
    assert made
    assert len(made.removeprefix("s3://").partition("/")[0]) <= 63
    assert made.endswith("/prefix?endpoint=http://h:1")


class Forgetful(MemoryBackend):
    """Shows an object as it was before the last write."""

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[str, bytes] = {}

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        data = b"".join(chunks)
        super().write(key, [self._first.setdefault(key, data)], size=size)


class Lagging(MemoryBackend):
    """Lists an object only after the next one was written."""

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        newest = max(self._objects, key=lambda key: self._objects[key][1])
        return (stat for stat in super().list(prefix, after=after) if stat.key != newest)


class Jumbled(MemoryBackend):
    """Lists in the wrong order."""

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        return iter(sorted(super().list(prefix, after=after), key=lambda stat: stat.key, reverse=True))


class Deaf(MemoryBackend):
    """Lists from the start, whatever the key to start after."""

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        return super().list(prefix)


class Shifted(MemoryBackend):
    """Sends the range beside the one asked for."""

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        return super().read(key, start=start + 1 if start else 0, length=length)


class Short(MemoryBackend):
    """Loses the end of what is large."""

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        for piece in super().read(key, start=start, length=length):
            yield piece[:10_000_000]


class Flipping(MemoryBackend):
    """Flips a bit of what is large."""

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        data = bytearray(b"".join(chunks))
        if size > 10_000_000:
            data[9_000_000] ^= 1
        super().write(key, [bytes(data)], size=size)


class Vague(MemoryBackend):
    """Refuses a missing key, as S3 does to whoever may not list."""

    def _find(self, key: str) -> tuple[bytes, float]:
        try:
            return super()._find(key)
        except KeyNotFound:
            raise Refused("AccessDenied") from None


class Undead(MemoryBackend):
    """Deletes nothing, and says it did."""

    def delete(self, key: str) -> None:
        pass


class Dated(MemoryBackend):
    """Dates objects an hour ago."""

    def stat(self, key: str) -> Stat:
        found = super().stat(key)
        return replace(found, modified=found.modified - 3600)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Forgetful, "read after overwrite"),
        (Lagging, "list after write"),
        (Jumbled, "listing order"),
        (Deaf, "listing order"),
        (Shifted, "ranges"),
        (Short, "large write"),
        (Flipping, "large write"),
        (Vague, "missing key"),
        (Undead, "delete"),
        (Dated, "object age"),
    ],
)
def test_a_broken_promise_is_found(kind: Callable[[], Backend], name: str) -> None:
    assert verdicts(kind())[name].ok is False


class Keeping(MemoryBackend):
    """Allows no deleting."""

    def delete(self, key: str) -> None:
        raise Refused("AccessDenied")


def test_what_cannot_be_deleted_is_named() -> None:
    backend = Keeping()
    found = verdicts(backend)
    assert found["delete"].ok is None
    left = [stat.key for stat in backend.list("probe/")]
    assert left
    assert all(key in found["cleaning up"].detail for key in left)
    assert not [finding for finding in found.values() if finding.ok is False]


def test_ranges_that_are_ignored_are_no_fault() -> None:
    backend = MemoryBackend()
    backend.properties = replace(backend.properties, ranges=False)
    found = verdicts(backend)["ranges"]
    assert found.ok is None
    assert "one stream" in found.detail


def test_clocks_are_compared() -> None:
    found = verdicts(MemoryBackend(), clock=lambda: 1_000_000_000.0)
    assert found["clock"].ok is None
    assert "clock" in found["clock"].detail


def test_a_mirror_is_only_read() -> None:
    class Mirror(MemoryBackend):
        def delete(self, key: str) -> None:
            raise AssertionError("deleted")

    backend = Mirror()
    backend.write("llstore.json", [b'{"format":1}'], size=12)
    backend.properties = replace(backend.properties, writable=False, listable=False)
    found = verdicts(backend)
    assert {name: finding.ok for name, finding in found.items()} == dict.fromkeys(
        ("read", "ranges", "missing key", "clock"), True
    )
    assert list(backend._objects) == ["llstore.json"]


def test_a_missing_bucket_that_looks_empty_is_a_fault() -> None:
    assert verdicts(MemoryBackend(), elsewhere=MemoryBackend())["missing bucket"].ok is False


@pytest.mark.parametrize("error", [BucketNotFound, Unreachable])
def test_what_cannot_be_met_is_an_error(error: type[Exception]) -> None:
    class Away(MemoryBackend):
        def _find(self, key: str) -> tuple[bytes, float]:
            raise error("away")

    with pytest.raises(error):
        probe(Away())


def test_a_bucket_that_allows_nothing_is_an_error() -> None:
    class Closed(Vague):
        def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
            raise Refused("AccessDenied")

    with pytest.raises(Refused):
        probe(Closed())


Command = Callable[..., subprocess.CompletedProcess[str]]


def test_the_command_shows_a_table_or_json(llstore: Command, bucket: str) -> None:
    shown = llstore("store", "probe", "--store", bucket)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert len(shown.stdout.splitlines()) == 11
    assert all(line.split("  ")[0] for line in shown.stdout.splitlines())
    document = json.loads(llstore("store", "probe", "--store", bucket, "--json").stdout)
    assert document["url"] == bucket
    assert {finding["ok"] for finding in document["findings"]} == {True}
    assert set(document["findings"][0]) == {"name", "ok", "detail"}


def test_the_embedded_store_can_be_probed(llstore: Command) -> None:
    assert llstore("store", "probe").returncode == 0
    assert llstore("store", "probe", "--offline").returncode == 0


def test_a_bucket_that_is_not_there_is_not_found(llstore: Command, bucket: str) -> None:
    assert llstore("store", "probe", "--store", bucket.replace("s3://test-", "s3://none-")).returncode == 3
    assert llstore("store", "probe", "--store", bucket, "--offline").returncode == 5
