"""A real SeaweedFS filer: what only it does, and one store used through both of its doors."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mirror import mirror
from seaweed import SeaweedFS

from llstore.store import Name, PutRequest, Settings, Store
from llstore.store.backends import Backend, open_backend
from llstore.store.backends.seaweedfs import PAGE, SeaweedBackend
from llstore.store.errors import BucketNotFound, KeyNotFound, NoSpace, Refused, Unreachable

MiB = 1024 * 1024
NAME = Name.parse("team/chat:v1")


@pytest.fixture
def name(bucket: str) -> str:
    """A fresh bucket's name."""
    return bucket.removeprefix("s3://").partition("?")[0]


@pytest.fixture
def filer(seaweed: SeaweedFS, name: str) -> Iterator[Backend]:
    with closing(open_backend(seaweed.filer_url(name))) as found:
        yield found


def write(backend: Backend, key: str, data: bytes = b"x") -> None:
    backend.write(key, [data], size=len(data))


def keys(backend: Backend, prefix: str = "", **after: str) -> list[str]:
    return [stat.key for stat in backend.list(prefix, **after)]


def machine(folder: Path, url: str) -> Settings:
    return Settings(cache=folder / "cache", data=folder / "data", url=url)


@pytest.mark.parametrize("kept", ["versions", "suspended versions", "encryption"])
def test_a_bucket_that_the_filer_does_not_wholly_show_is_refused(
    seaweed: SeaweedFS, name: str, filer: Backend, kept: str
) -> None:
    client = seaweed.client()
    if kept == "encryption":
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        client.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    else:
        for status in ("Enabled", "Suspended")[: 1 if kept == "versions" else 2]:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})
    said = "encrypts" if kept == "encryption" else "keeps versions"
    for act in (lambda: keys(filer), lambda: write(filer, "a"), lambda: filer.stat("absent")):
        with pytest.raises(Refused, match=f"is a bucket that {said}: ") as refused:
            act()
        assert refused.value.hint == f"use s3://{name} with its endpoint"


@pytest.mark.parametrize("put_through", ["s3", "filer"])
def test_one_store_is_used_through_both_doors(
    seaweed: SeaweedFS, name: str, tiny: Path, tmp_path: Path, put_through: str
) -> None:
    doors = [seaweed.url(name), seaweed.filer_url(name)]
    here, there = doors if put_through == "s3" else reversed(doors)
    with Store(machine(tmp_path / "here", here)) as store:
        digest = store.put(PutRequest(tiny, name=NAME, labels={"stage": "prod"})).manifest.model
    with Store(machine(tmp_path / "there", there)) as store:
        model = store.model(NAME)
        assert (model.digest, model.labels) == (digest, {"stage": "prod"})
        assert store.get(NAME).path.read_bytes() == tiny.read_bytes()
        assert store.put(PutRequest(tiny)).deduplicated
    with Store(machine(tmp_path / "here", here)) as store:
        assert [model.digest for model in store.models()] == [digest]


def test_both_doors_show_the_same_objects(seaweed: SeaweedFS, name: str, filer: Backend) -> None:
    with closing(open_backend(seaweed.url(name))) as s3:
        for number, backend in enumerate((s3, filer, s3, filer)):
            write(backend, f"blobs/{number}", bytes(number * 5 * MiB))
        assert list(filer.list("")) == [filer.stat(key) for key in keys(s3)]
        assert [(stat.key, stat.size) for stat in s3.list("")] == [(stat.key, stat.size) for stat in filer.list("")]
        for number in range(4):
            assert b"".join(filer.read(f"blobs/{number}")) == b"".join(s3.read(f"blobs/{number}"))


def test_uploads_that_are_not_complete_are_not_listed(seaweed: SeaweedFS, name: str, filer: Backend) -> None:
    write(filer, "a/b")
    client = seaweed.client()
    upload = client.create_multipart_upload(Bucket=name, Key="big")["UploadId"]
    client.upload_part(Bucket=name, Key="big", UploadId=upload, PartNumber=1, Body=bytes(5 * MiB))
    assert keys(filer) == ["a/b"]


AWKWARD = [
    "per%cent",
    "plus+plus",
    "a space",
    "quest?ion",
    "ha#sh",
    "é",
    "日本",
    "a&b=c",
    "semi;colon",
    "~tilde",
    "%2F",
]


def test_a_key_may_hold_any_character(seaweed: SeaweedFS, name: str, filer: Backend) -> None:
    for key in AWKWARD:
        write(filer, f"dir {key}/{key}", key.encode())
    assert sorted(keys(filer)) == sorted(f"dir {key}/{key}" for key in AWKWARD)
    for key in AWKWARD:
        assert b"".join(filer.read(f"dir {key}/{key}")) == key.encode()
        assert keys(filer, f"dir {key}/") == [f"dir {key}/{key}"]
    with closing(open_backend(seaweed.url(name))) as s3:
        assert sorted(keys(s3)) == sorted(keys(filer))
    filer.delete("dir ha#sh/ha#sh")
    assert "dir ha#sh/ha#sh" not in keys(filer)


TREE = ["a", "b!", "b/1", "b/2", "b/c/1", "b0", "ba", "c.json", "c/1", "c/1.json", "c/d/e/f", "cc", "d"]


@pytest.mark.parametrize("prefix", ["", "b", "b/", "b/c", "c", "c/", "c/1", "c/d/e/", "x", "b/x", "a/"])
def test_a_listing_is_that_of_sorted_keys_wherever_it_starts(filer: Backend, prefix: str) -> None:
    for key in TREE:
        write(filer, key)
    starts = ["", *TREE, "b", "b/", "b/c", "c", "c/", "c/1.", "c/d/", "e", "A", "b~", "b/1/2", "c/d/e/f/g"]
    for after in starts:
        expected = sorted(key for key in TREE if key.startswith(prefix) and key > after)
        assert sorted(keys(filer, prefix, after=after)) == expected, after


def test_a_listing_finds_the_tail_of_a_long_folder_in_one_page(seaweed: SeaweedFS, name: str, tmp_path: Path) -> None:
    pages = []

    class Counting(SeaweedBackend):
        def _page(self, folder: str, last: str):  # type: ignore[no-untyped-def]
            pages.append(last)
            return super()._page(folder, last)

    with closing(Counting(seaweed.filer, f"/buckets/{name}")) as filer:
        for number in range(PAGE + 200):
            write(filer, f"journal/01{number:024}.json")
        assert keys(filer, "journal/", after=f"journal/01{PAGE + 190:024}.json") == [
            f"journal/01{number:024}.json" for number in range(PAGE + 191, PAGE + 200)
        ]
        assert len(pages) == 1
        assert len(keys(filer, "journal/")) == PAGE + 200
        assert len(pages) == 3


def failing(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield bytes(MiB)
    raise RuntimeError("the source broke")


@pytest.mark.parametrize("count", [0, 1, 5, 30])
def test_an_upload_that_breaks_off_leaves_what_was_there(filer: Backend, count: int) -> None:
    write(filer, "kept", b"old")
    for key in ("kept", "new"):
        with pytest.raises(RuntimeError, match="the source broke"):
            filer.write(key, failing(count), size=40 * MiB)
    time.sleep(0.3)
    assert keys(filer) == ["kept"]
    assert b"".join(filer.read("kept")) == b"old"


@pytest.mark.parametrize("data", [b"", b"four", b"sixsix"])
def test_a_source_of_another_size_is_refused(filer: Backend, data: bytes) -> None:
    with pytest.raises(ValueError, match="should be 5 bytes"):
        filer.write("a", [data], size=5)
    assert keys(filer) == []
    write(filer, "a", b"12345")
    assert b"".join(filer.read("a")) == b"12345"


def test_a_write_that_was_not_kept_is_unreachable(filer: Backend) -> None:
    write(filer, "folder/object")
    with pytest.raises(Unreachable, match="kept nothing of 3 for folder"):
        write(filer, "folder", b"abc")


@pytest.mark.parametrize("verb", ["write", "list", "read", "stat"])
def test_a_missing_folder_is_said_to_be_missing_and_is_not_made(seaweed: SeaweedFS, verb: str) -> None:
    verbs = {
        "write": lambda backend: write(backend, "llstore.json"),
        "list": lambda backend: keys(backend, "journal/"),
        "read": lambda backend: list(backend.read("llstore.json")),
        "stat": lambda backend: backend.stat("llstore.json"),
    }
    name = f"absent-{uuid.uuid4().hex[:8]}"
    with closing(open_backend(seaweed.filer_url(name))) as backend, pytest.raises(BucketNotFound, match=name) as failed:
        verbs[verb](backend)
    assert "/buckets/NAME" in failed.value.hint
    assert name not in [found["Name"] for found in seaweed.client().list_buckets()["Buckets"]]


def test_an_object_is_no_store(seaweed: SeaweedFS, name: str, filer: Backend) -> None:
    write(filer, "object")
    with closing(open_backend(f"{seaweed.filer_url(name)}/object")) as backend:
        for verb in (lambda: keys(backend), lambda: write(backend, "a"), lambda: list(backend.read("a"))):
            with pytest.raises(BucketNotFound):
                verb()
    assert keys(filer) == ["object"]


def test_a_store_may_lie_in_any_folder(seaweed: SeaweedFS, name: str, filer: Backend) -> None:
    write(filer, "some/folder/a")
    with closing(open_backend(f"{seaweed.filer_url(name)}//some/folder/")) as backend:
        assert backend.properties.url == f"seaweedfs://{seaweed.filer}/buckets/{name}/some/folder"
        write(backend, "b")
        assert keys(backend) == ["a", "b"]
    assert keys(filer) == ["some/folder/a", "some/folder/b"]


def test_deleting_leaves_the_other_objects(filer: Backend) -> None:
    write(filer, "a/b")
    write(filer, "a/c")
    filer.delete("a/b")
    filer.delete("nowhere/at/all")
    assert keys(filer) == ["a/c"]


def test_compressible_objects_come_back_whole_and_by_range(filer: Backend) -> None:
    data = json.dumps([{"number": number} for number in range(50_000)]).encode()
    write(filer, "journal/a.json", data)
    assert filer.stat("journal/a.json").size == len(data)
    assert b"".join(filer.read("journal/a.json")) == data
    assert b"".join(filer.read("journal/a.json", start=777_777, length=99)) == data[777_777 : 777_777 + 99]


@pytest.mark.parametrize(
    ("status", "error"), [(503, Unreachable), (429, Unreachable), (401, Refused), (403, Refused), (507, NoSpace)]
)
def test_a_filer_that_says_no_is_understood(tmp_path: Path, status: int, error: type[Exception]) -> None:
    with mirror(tmp_path) as server, closing(open_backend(server.bare.replace("http", "seaweedfs"))) as backend:
        server.status = status
        for verb in (lambda: keys(backend), lambda: backend.stat("a"), lambda: list(backend.read("a"))):
            with pytest.raises(error):
                verb()


def test_a_server_that_is_no_filer_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with mirror(tmp_path) as server, closing(open_backend(server.bare.replace("http", "seaweedfs"))) as backend:
        with pytest.raises(BucketNotFound):
            keys(backend)
        assert backend.stat("a").size == 1
        with pytest.raises(BucketNotFound):
            backend.stat("b")


def test_the_default_port_is_the_filers_own() -> None:
    with closing(open_backend("seaweedfs://host/path")) as backend:
        assert backend.properties.url == "seaweedfs://host:8888/path"


def test_absent_is_told_apart_once_the_folder_was_seen(filer: Backend) -> None:
    with pytest.raises(KeyNotFound):
        filer.stat("absent")
