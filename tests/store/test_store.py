"""Put and get through a whole store: on this machine's disk, and in a real bucket."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llstore.store import Digest, Name, PutRequest, Role, Settings, Store, parse_ref
from llstore.store.backends import open_backend
from llstore.store.blocks import BLOCK_SIZE
from llstore.store.disk import PartFile
from llstore.store.errors import (
    AmbiguousRef,
    BucketNotFound,
    Damaged,
    FileNotThere,
    FormatTooNew,
    ModelNotFound,
    RoleConflict,
    SourceChanged,
    Unreachable,
    Unsafe,
)
from llstore.store.journal import Journal
from llstore.store.layout import blob_key, blocks_key, manifest_key

NAME = Name.parse("team/chat:v1")


@pytest.fixture(params=["embedded", "folder", "s3"])
def here(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Settings:
    return Settings(cache=home / "cache", data=home / "data", url=_url(request, tmp_path))


@pytest.fixture(params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Settings:
    return Settings(cache=home / "cache", data=home / "data", url=_url(request, tmp_path))


def _url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    if request.param == "embedded":
        return None
    if request.param == "s3":
        url: str = request.getfixturevalue("bucket")
        return url
    (tmp_path / "shared").mkdir()
    return (tmp_path / "shared").as_uri()


def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    """The same store, seen by a machine with an empty catalog and cache."""
    return Settings(cache=tmp_path / "other/cache", data=tmp_path / "other/data", url=settings.url)


def put(settings: Settings, path: Path, **request: object) -> Digest:
    with Store(settings) as store:
        return store.put(PutRequest(path, **request)).manifest.model  # type: ignore[arg-type]


def keys(settings: Settings) -> list[str]:
    with Store(settings) as store:
        return [stat.key for stat in store.bucket.backend.list("")]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Three blocks and a bit, no two alike."""
    path = tmp_path / "large.bin"
    path.write_bytes(b"".join(bytes([number]) * BLOCK_SIZE for number in range(3)) + b"tail")
    return path


def test_a_model_comes_back_byte_for_byte_under_its_sha256(here: Settings, tiny: Path) -> None:
    digest = put(here, tiny)
    assert digest.hex == hashlib.sha256(tiny.read_bytes()).hexdigest()
    with Store(here) as store:
        result = store.get(digest)
    assert result.path.read_bytes() == tiny.read_bytes()
    assert result.path.stat().st_mode & 0o777 == 0o444


def test_the_object_in_the_bucket_is_the_file_itself(here: Settings, tiny: Path) -> None:
    digest = put(here, tiny)
    with Store(here) as store:
        assert b"".join(store.bucket.backend.read(blob_key(digest))) == tiny.read_bytes()


def test_the_bucket_holds_format_1(here: Settings, tiny: Path) -> None:
    digest = put(here, tiny, name=NAME, labels={"stage": "prod"})
    found = keys(here)
    assert {"llstore.json", blob_key(digest), blocks_key(digest), manifest_key(digest)} <= set(found)
    with Store(here) as store:
        ops = [entry.op for entry in Journal(store.bucket.backend).read(seen=())]  # type: ignore[union-attr]
    assert ops == ["intent", "put", "label", "tag"]


def test_a_machine_with_an_empty_catalog_finds_names_and_prefixes(shared: Settings, tiny: Path, tmp_path: Path) -> None:
    digest = put(shared, tiny, name=NAME, labels={"stage": "prod"})
    with Store(elsewhere(shared, tmp_path)) as store:
        assert store.resolve(parse_ref("team/chat:v1")) == digest
        assert store.resolve(parse_ref(digest.hex[:8])) == digest
        assert store.get(NAME).path.read_bytes() == tiny.read_bytes()
        model = store.model(NAME)
    assert (model.names, model.labels) == (("team/chat:v1",), {"stage": "prod"})
    assert model.manifest.facts.architecture == "llama"


def test_a_second_put_moves_no_bytes_and_says_so(here: Settings, tiny: Path) -> None:
    put(here, tiny, name=NAME)
    with Store(here) as store:
        again = store.put(PutRequest(tiny))
    assert (again.deduplicated, again.uploaded_bytes, again.names) == (True, 0, ("team/chat:v1",))


def test_a_put_that_was_cut_short_is_completed_by_the_next(here: Settings, tiny: Path) -> None:
    digest = put(here, tiny)
    with Store(here) as store:
        for stat in list(store.bucket.backend.list("journal/")):
            store.bucket.backend.delete(stat.key)
        store.bucket.backend.delete(manifest_key(digest))
    with Store(here) as store:
        assert store.models() == []
        assert store.put(PutRequest(tiny)).deduplicated
        assert [model.digest for model in store.models()] == [digest]


def test_a_store_begun_anew_at_the_same_url_is_filled_again(here: Settings, tiny: Path, tmp_path: Path) -> None:
    digest = put(here, tiny, name=NAME)
    with Store(here) as store:
        for stat in list(store.bucket.backend.list("")):
            store.bucket.backend.delete(stat.key)
    with Store(here) as store:
        assert store.models() == []
        store.put(PutRequest(tiny, name=NAME))
    reader = elsewhere(here, tmp_path) if here.url else here
    for catalog in reader.data.glob("catalog-*"):
        catalog.unlink()
    with Store(reader) as store:
        assert store.resolve(NAME) == digest


def test_a_name_moves_to_the_model_it_was_given_last(here: Settings, tiny: Path, large: Path) -> None:
    put(here, tiny, name=NAME)
    second = put(here, large, name=NAME, role=Role.OTHER)
    with Store(here) as store:
        assert store.resolve(NAME) == second


def test_a_warm_get_asks_nobody(shared: Settings, tiny: Path, tmp_path: Path) -> None:
    digest = put(shared, tiny)
    with Store(shared) as store:
        assert store.get(digest).fetched_bytes == tiny.stat().st_size
    unreachable = Settings(cache=shared.cache, data=shared.data, url="s3://gone?endpoint=http://127.0.0.1:1")
    with Store(unreachable) as store:
        assert store.get(digest).fetched_bytes == 0


def test_offline_serves_what_is_here_and_refuses_the_rest(shared: Settings, tiny: Path, large: Path) -> None:
    digest, other = put(shared, tiny, name=NAME), put(shared, large, role=Role.OTHER)
    with Store(shared) as store:
        store.get(digest)
    offline = Settings(cache=shared.cache, data=shared.data, url=shared.url, offline=True)
    with Store(offline) as store:
        assert store.get(NAME).fetched_bytes == 0
        with pytest.raises(ModelNotFound, match="not on this machine"):
            store.get(other)
        with pytest.raises(Unreachable, match="offline"):
            store.put(PutRequest(tiny))


def test_damage_found_offline_is_said_of_the_damaged_model_alone_and_once(
    shared: Settings, tiny: Path, large: Path
) -> None:
    digest, other = put(shared, tiny, name=NAME), put(shared, large, role=Role.OTHER)
    with Store(shared) as store:
        path = store.get(digest).path
    path.chmod(0o644)
    path.write_bytes(bytes(tiny.stat().st_size))
    offline = Settings(cache=shared.cache, data=shared.data, url=shared.url, offline=True)
    with Store(offline) as store:
        with pytest.raises(Damaged, match="was damaged on this machine"):
            store.get(digest)
        for absent in (other, digest):
            with pytest.raises(ModelNotFound, match="not on this machine"):
                store.get(absent)


def test_a_file_that_changes_while_it_is_put_is_refused_and_nothing_appears(here: Settings, large: Path) -> None:
    def meddle(step: str, done: int, total: int) -> None:
        if step == "upload" and done == BLOCK_SIZE:
            with large.open("r+b") as file:
                file.seek(2 * BLOCK_SIZE)
                file.write(b"!")

    with Store(here) as store, pytest.raises(SourceChanged, match="changed while it was being put"):
        store.put(PutRequest(large, role=Role.OTHER), meddle)
    assert not [key for key in keys(here) if key.startswith(("blobs/", "manifests/"))]
    with Store(here) as store:
        assert store.models() == []


@pytest.mark.parametrize("change", [lambda file: file.truncate(BLOCK_SIZE), lambda file: file.write(b"more")])
def test_a_file_that_shrinks_or_grows_meanwhile_is_refused(settings: Settings, large: Path, change: object) -> None:
    def meddle(step: str, done: int, total: int) -> None:
        if step == "upload" and done == BLOCK_SIZE:
            with large.open("ab") as file:
                change(file)  # type: ignore[operator]

    with Store(settings) as store, pytest.raises(SourceChanged):
        store.put(PutRequest(large, role=Role.OTHER), meddle)


@pytest.mark.parametrize("damage", ["flip", "shorten", "lengthen"])
def test_a_tampered_object_is_named_and_caches_nothing(
    shared: Settings, large: Path, tmp_path: Path, damage: str
) -> None:
    digest = put(shared, large, role=Role.OTHER)
    data = bytearray(large.read_bytes())
    if damage == "flip":
        data[BLOCK_SIZE + 5] ^= 1
    data = data[:-1] if damage == "shorten" else data + b"x" if damage == "lengthen" else data
    with Store(shared) as store:
        store.bucket.backend.write(blob_key(digest), [bytes(data)], size=len(data))
    other = elsewhere(shared, tmp_path)
    with Store(other) as store, pytest.raises(Damaged, match=r"wrong bytes|holds more") as failure:
        store.get(digest)
    if damage == "flip":
        assert Digest.of(bytes(data)).hex in str(failure.value)
        assert f"block is 1 (bytes {BLOCK_SIZE}-{2 * BLOCK_SIZE - 1})" in str(failure.value)
    assert not [path for path in other.cache.rglob("*") if path.is_file() and path.stat().st_size > BLOCK_SIZE]


def test_force_heals_a_damaged_object(shared: Settings, tiny: Path, tmp_path: Path) -> None:
    digest = put(shared, tiny)
    size = tiny.stat().st_size
    with Store(shared) as store:
        store.bucket.backend.write(blob_key(digest), [b"\0" * size], size=size)
        assert not store.put(PutRequest(tiny, force=True)).deduplicated
    with Store(elsewhere(shared, tmp_path)) as store:
        assert store.get(digest).path.read_bytes() == tiny.read_bytes()


def test_an_object_that_no_journal_entry_vouches_for_is_read_back(here: Settings, large: Path) -> None:
    digest = put(here, large, role=Role.OTHER)
    with Store(here) as store:
        for stat in list(store.bucket.backend.list("journal/")):
            store.bucket.backend.delete(stat.key)
        data = bytearray(large.read_bytes())
        data[BLOCK_SIZE] ^= 1
        store.bucket.backend.write(blob_key(digest), [bytes(data)], size=len(data))
    with Store(here) as store:
        assert not store.put(PutRequest(large, role=Role.OTHER)).deduplicated
        assert b"".join(store.bucket.backend.read(blob_key(digest))) == large.read_bytes()


def test_an_object_without_its_block_list_is_read_back_and_gets_one(here: Settings, large: Path) -> None:
    digest = put(here, large, role=Role.OTHER)
    with Store(here) as store:
        store.bucket.backend.delete(blocks_key(digest))
        assert store.put(PutRequest(large, role=Role.OTHER)).deduplicated
        assert store.bucket.backend.stat(blocks_key(digest)).size == 32 + 4 * 32


def test_verify_reads_back_what_is_stored_and_heals_it(shared: Settings, large: Path) -> None:
    digest = put(shared, large, role=Role.OTHER)
    data = bytearray(large.read_bytes())
    data[-1] ^= 1
    with Store(shared) as store:
        assert store.put(PutRequest(large, role=Role.OTHER, verify=True)).deduplicated
        store.bucket.backend.write(blob_key(digest), [bytes(data)], size=len(data))
        assert store.put(PutRequest(large, role=Role.OTHER)).deduplicated
        assert not store.put(PutRequest(large, role=Role.OTHER, verify=True)).deduplicated
        assert b"".join(store.bucket.backend.read(blob_key(digest))) == large.read_bytes()


def test_a_damaged_cached_file_is_set_aside_and_fetched_again(shared: Settings, tiny: Path) -> None:
    digest = put(shared, tiny)
    with Store(shared) as store:
        path = store.get(digest).path
    spoil(path)
    with Store(shared) as store:
        again = store.get(digest)
    assert (again.fetched_bytes, again.path.read_bytes()) == (tiny.stat().st_size, tiny.read_bytes())
    assert len(list((shared.cache / "quarantine").iterdir())) == 1


def test_a_damaged_embedded_blob_is_reported_kept_and_healed_by_a_put(settings: Settings, tiny: Path) -> None:
    digest = put(settings, tiny)
    with Store(settings) as store:
        path = store.get(digest).path
    spoil(path)
    with Store(settings) as store, pytest.raises(Damaged, match="under the name"):
        store.get(digest)
    assert path.exists()
    with Store(settings) as store:
        assert not store.put(PutRequest(tiny)).deduplicated
        assert store.get(digest).path.read_bytes() == tiny.read_bytes()


def spoil(path: Path) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 1]))
    path.chmod(0o444)


def test_an_ambiguous_prefix_lists_its_candidates(settings: Settings, tmp_path: Path) -> None:
    # No two real files share 8 hex digits, so the journal is told of two that do.
    with Store(settings) as store:
        store.put(PutRequest(_file(tmp_path, b"one"), role=Role.OTHER))
        document = store.models()[0].manifest.document()
        twins = ["abcdef12" + "0" * 56, "abcdef12" + "1" * 56]
        for twin in twins:
            document["files"][0]["digest"] = f"sha256:{twin}"
            store.bucket.journal.append({"op": "put", "model": f"sha256:{twin}", "manifest": document})
        with pytest.raises(AmbiguousRef) as failure:
            store.resolve(parse_ref("abcdef12"))
    assert failure.value.candidates == [f"sha256:{twin}" for twin in twins]
    assert all(twin in failure.value.hint for twin in twins)


def _file(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_only_a_role_lets_in_what_is_not_gguf(here: Settings, tmp_path: Path) -> None:
    path = _file(tmp_path, b"just text")
    with Store(here) as store:
        with pytest.raises(Unsafe, match="not a GGUF"):
            store.put(PutRequest(path))
        with pytest.raises(Unsafe, match="not a GGUF"):
            store.put(PutRequest(path, role=Role.ADAPTER))
        assert store.models() == []
        assert store.put(PutRequest(path, role=Role.LICENSE)).manifest.main.role is Role.LICENSE


def test_an_empty_file_is_refused_whatever_its_role(here: Settings, tmp_path: Path) -> None:
    with Store(here) as store, pytest.raises(Unsafe, match="is empty"):
        store.put(PutRequest(_file(tmp_path, b""), role=Role.OTHER))


def test_a_truncated_gguf_is_refused_and_says_what_is_missing(here: Settings, tiny: Path, tmp_path: Path) -> None:
    whole = tiny.read_bytes()
    with Store(here) as store, pytest.raises(Unsafe, match=f"cut short.*it has {len(whole) - 1}"):
        store.put(PutRequest(_file(tmp_path, whole[:-1])))


def test_a_missing_file_is_said_to_be_missing(settings: Settings, tmp_path: Path) -> None:
    with Store(settings) as store, pytest.raises(FileNotThere):
        store.put(PutRequest(tmp_path / "absent"))


def test_a_model_keeps_its_role(settings: Settings, tmp_path: Path) -> None:
    path = _file(tmp_path, b"some template")
    put(settings, path, role=Role.TEMPLATE)
    with Store(settings) as store, pytest.raises(RoleConflict, match="as template, not license"):
        store.put(PutRequest(path, role=Role.LICENSE))
    with Store(settings) as store:
        store.sync()
        assert store.catalog.intents(since="") == set(), "a put that was refused holds no bytes from the collector"


def test_a_digest_that_is_not_there_is_not_found(here: Settings) -> None:
    with Store(here) as store, pytest.raises(ModelNotFound):
        store.get(Digest("ab" * 32))


def test_a_bucket_that_is_not_there_is_not_found_and_not_made(home: Path, tmp_path: Path, tiny: Path) -> None:
    nowhere = Settings(cache=home / "cache", data=home / "data", url=(tmp_path / "absent").as_uri())
    with Store(nowhere) as store, pytest.raises(BucketNotFound):
        store.put(PutRequest(tiny))
    assert not (tmp_path / "absent").exists()


def test_a_bucket_in_a_newer_format_is_refused(shared: Settings, tiny: Path) -> None:
    assert shared.url
    data = json.dumps({"format": 2}).encode()
    open_backend(shared.url).write("llstore.json", [data], size=len(data))
    with Store(shared) as store, pytest.raises(FormatTooNew, match="format 2"):
        store.put(PutRequest(tiny))


def test_a_put_waits_for_a_sweep_of_its_blob_and_uploads_again(settings: Settings, tiny: Path) -> None:
    digest = put(settings, tiny)
    with Store(settings) as store:
        until = store.bucket.backend.clock() + 1
        store.bucket.journal.append({"op": "sweep", "digests": [str(digest)], "until": until})
        assert not store.put(PutRequest(tiny)).deduplicated
        assert store.bucket.backend.clock() > until


def test_an_interrupted_get_is_taken_up_by_the_next(shared: Settings, large: Path) -> None:
    digest = put(shared, large, role=Role.OTHER)

    def interrupt(step: str, done: int, total: int) -> None:
        if step == "download" and done >= BLOCK_SIZE:
            raise KeyboardInterrupt

    with Store(shared) as store, pytest.raises(KeyboardInterrupt):
        store.get(digest, interrupt)
    assert not [path for path in (shared.cache / "blobs").rglob("*") if path.is_file()]
    with Store(shared) as store:
        again = store.get(digest)
    assert again.fetched_bytes <= large.stat().st_size - BLOCK_SIZE
    assert again.path.read_bytes() == large.read_bytes()
    assert not list((shared.cache / "partial").glob("*.part"))


def test_an_interrupted_put_leaves_nothing_visible(here: Settings, tmp_path: Path) -> None:
    path = tmp_path / "five"
    path.write_bytes(os.urandom(5 * BLOCK_SIZE))

    def interrupt(step: str, done: int, total: int) -> None:
        if step == "upload" and done > 3 * BLOCK_SIZE:
            raise KeyboardInterrupt

    with Store(here) as store, pytest.raises(KeyboardInterrupt):
        store.put(PutRequest(path, role=Role.OTHER), interrupt)
    assert not [key for key in keys(here) if key.startswith(("blobs/", "manifests/"))]
    if here.url is None:
        assert not list(here.embedded.rglob("*.part"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB, where this user may mount one; else a folder whose process may write 4 MiB a file."""
    import resource
    import subprocess

    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True)
    if mounted.returncode == 0:
        yield folder
        subprocess.run(["umount", folder], check=True)
        return
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, hard))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_to_be_full_and_keeps_nothing(shared: Settings, large: Path, small_disk: Path) -> None:
    from llstore.store.errors import NoSpace

    digest = put(shared, large, role=Role.OTHER)
    full = Settings(cache=small_disk / "cache", data=shared.data, url=shared.url)
    with Store(full) as store, pytest.raises(NoSpace):
        store.get(digest)
    assert not [path for path in small_disk.rglob("*") if path.is_file() and path.stat().st_size > 100_000]


def test_a_part_file_reserves_its_space_before_the_first_byte(small_disk: Path) -> None:
    from llstore.store.errors import NoSpace

    with pytest.raises(NoSpace), PartFile.beside(small_disk, size=8 << 20):
        pass
    assert list(small_disk.iterdir()) == []
