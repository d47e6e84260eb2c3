"""Bundles: models in one file, the same bytes wherever it is made, and all or nothing when it is read."""

import io
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import parts
import pytest
import tiny as tiny_model
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from recorded import Recorded

from llstore.store import Digest, Name, PutRequest, Role, Settings, Store
from llstore.store.blocks import BLOCK_SIZE
from llstore.store.errors import Damaged, FileKept, FormatTooNew, LockBroken, ModelNotFound, StoreError, Unsafe
from llstore.store.exchange import tar
from llstore.store.exchange.bring import Brought
from llstore.store.exchange.bundle import Bundle, checksum, digests_in
from llstore.store.exchange.export import Exported, export_bundle
from llstore.store.exchange.unpack import import_bundle
from llstore.store.layout import blob_key
from llstore.store.lock.lockfile import Locked, Lockfile
from llstore.store.lock.project import Wanted
from llstore.store.target import Target

Command = Callable[..., subprocess.CompletedProcess[str]]
CHAT, OTHER = Name.parse("team/chat:v1"), Name.parse("team/other")
LARGE = b"".join(bytes([number]) * BLOCK_SIZE for number in range(2)) + b"tail"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    (tmp_path / "large.bin").write_bytes(LARGE)
    return tmp_path / "large.bin"


@pytest.fixture
def full(settings: Settings, tiny: Path, large: Path, shards: list[Path]) -> Settings:
    """A store with three models, two of which have names."""
    with Store(settings) as store:
        store.put(PutRequest(tiny, name=CHAT, labels={"stage": "prod"}, annotations={"source": "here"}))
        store.put(PutRequest(large, role=Role.OTHER, name=OTHER))
        store.put(PutRequest(shards[0], more=tuple(shards[1:])))
    return settings


@pytest.fixture(params=["embedded", "folder", "s3"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Another machine, whose store is empty."""
    other = Settings(cache=tmp_path / "there/cache", data=tmp_path / "there/data")
    if request.param == "folder":
        (tmp_path / "shared").mkdir()
        return replace(other, url=(tmp_path / "shared").as_uri())
    return replace(other, url=request.getfixturevalue("bucket")) if request.param == "s3" else other


@pytest.fixture
def machine(tmp_path: Path) -> Settings:
    return Settings(cache=tmp_path / "machine/cache", data=tmp_path / "machine/data")


def everything(settings: Settings) -> list[Digest]:
    with Store(settings) as store:
        return [model.digest for model in store.models()]


def export(settings: Settings, path: Path, *digests: Digest, without: frozenset[Digest] = frozenset()) -> Exported:
    with Store(settings) as store:
        return export_bundle(store, digests or everything(settings), Target(path), without=without)


def bring(settings: Settings, path: Path, **options: bool) -> Brought:
    with Store(settings) as store:
        return import_bundle(store, path, **options)


def visible(settings: Settings) -> list[str]:
    with Store(settings) as store:
        return [str(model.digest) for model in store.models()]


@pytest.fixture
def bundle(full: Settings, tmp_path: Path) -> Path:
    export(full, tmp_path / "bundle.tar")
    return tmp_path / "bundle.tar"


def test_models_names_and_labels_come_over(full: Settings, bundle: Path, there: Settings, tiny: Path) -> None:
    done = bring(there, bundle)
    assert sorted(visible(there)) == sorted(visible(full))
    assert done.uploaded_bytes == sum(arrival.model.manifest.size for arrival in done.arrivals)
    with Store(there) as store, Store(full) as origin:
        for model in origin.models():
            came = store.model(model.digest)
            assert (came.names, came.labels, came.annotations) == (model.names, model.labels, model.annotations)
            assert came.manifest == model.manifest
            for file in store.get(model.digest).files:
                assert Digest.of(file.path.read_bytes()) == file.entry.digest
        assert store.get(CHAT).path.read_bytes() == tiny.read_bytes()


def test_a_second_import_changes_nothing_and_reads_no_blob(bundle: Path, there: Settings) -> None:
    bring(there, bundle)
    with Store(there) as store:
        recorded = Recorded(store.source)
        store.source = recorded
        done = import_bundle(store, bundle)
        assert (done.uploaded_bytes, [arrival.new for arrival in done.arrivals]) == (0, [False] * 3)
        assert recorded.totals.write == 0
        assert not [call for call in recorded.calls if call.verb == "read" and call.key.startswith("blobs/")]


def test_the_same_models_give_the_same_bytes_on_another_machine(
    full: Settings, bundle: Path, there: Settings, tmp_path: Path
) -> None:
    bring(there, bundle)
    export(there, tmp_path / "again.tar", *reversed(everything(full)))
    assert (tmp_path / "again.tar").read_bytes() == bundle.read_bytes()


def test_any_tar_reads_it_and_finds_the_files_themselves(bundle: Path, tiny: Path) -> None:
    with tarfile.open(bundle) as archive:
        members = archive.getmembers()
        key = blob_key(Digest.of(tiny.read_bytes()))
        data = archive.extractfile(key)
        assert data
        assert data.read() == tiny.read_bytes()
    assert all(member.isreg() and member.mode == 0o444 and not member.mtime for member in members)
    assert {member.uname + member.gname for member in members} == {""}


def test_a_bucket_is_exported_without_filling_the_cache(bucket: str, machine: Settings, large: Path) -> None:
    settings = replace(machine, url=bucket)
    with Store(settings) as store:
        digest = store.put(PutRequest(large, role=Role.OTHER)).manifest.model
    export(settings, large.with_suffix(".tar"), digest)
    with Store(settings) as store:
        assert not store.cache.has(digest)
    with Bundle(large.with_suffix(".tar")) as bundle:
        assert list(bundle.index.files) == [digest]


def test_what_is_cached_is_exported_offline(bucket: str, machine: Settings, tiny: Path) -> None:
    settings = replace(machine, url=bucket)
    with Store(settings) as store:
        digest = store.put(PutRequest(tiny, name=CHAT)).manifest.model
        store.get(digest)
    export(settings, machine.data / "online.tar", digest)
    export(replace(settings, offline=True), machine.data / "offline.tar", digest)
    assert (machine.data / "offline.tar").read_bytes() == (machine.data / "online.tar").read_bytes()


def test_damage_in_the_store_ends_the_export_and_leaves_no_file(full: Settings, large: Path, tmp_path: Path) -> None:
    digest = Digest.of(LARGE)
    path = full.embedded / blob_key(digest)
    path.chmod(0o644)
    path.write_bytes(LARGE[:-1] + b"?")
    with pytest.raises(Damaged):
        export(full, tmp_path / "x.tar", digest)
    assert not [path for path in tmp_path.iterdir() if "tar" in path.name or "part" in path.name]


def test_a_file_that_is_there_is_kept(full: Settings, bundle: Path) -> None:
    before = bundle.stat()
    with pytest.raises(FileKept):
        export(full, bundle)
    assert bundle.stat() == before


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A bundle of two models, one of them of two files, and the other with a name and labels."""
    folder = tmp_path_factory.mktemp("small")
    settings = Settings(cache=folder / "cache", data=folder / "data")
    (folder / "note").write_text("all the way to the tail")
    with Store(settings) as store:
        request = PutRequest(folder / "note", role=Role.OTHER, name=CHAT, labels={"stage": "prod"})
        first = store.put(request).manifest.model
        shards = parts.write_shards(folder, tensors=2, count=2)
        second = store.put(PutRequest(shards[0], more=tuple(shards[1:]))).manifest.model
    export(settings, folder / "small.tar", first, second)
    return (folder / "small.tar").read_bytes()


# What is left out.


def test_since_a_bundle_only_what_is_new_travels(
    full: Settings, bundle: Path, tmp_path: Path, machine: Settings, tiny: Path
) -> None:
    other = tiny_model.write_tiny(tmp_path / "new.gguf", seed=5)
    with Store(full) as store:
        new = store.put(PutRequest(other)).manifest.model
    done = export(full, tmp_path / "step.tar", without=digests_in(bundle))
    assert done.size < bundle.stat().st_size / 10
    assert new not in done.left_out
    with pytest.raises(ModelNotFound) as caught:
        bring(machine, tmp_path / "step.tar")
    assert str(Digest.of(tiny.read_bytes())) in str(caught.value)
    assert visible(machine) == []
    bring(machine, bundle)
    arrived = bring(machine, tmp_path / "step.tar").arrivals
    assert [arrival.model.digest for arrival in arrived if arrival.new] == [new]


def test_a_left_out_blob_of_another_model_is_used(
    full: Settings, tmp_path: Path, machine: Settings, tiny: Path
) -> None:
    """The weights are in the store as a model of their own, and the bundle has them with a license."""
    (tmp_path / "LICENSE").write_text("do what you like")
    with Store(full) as store:
        both = store.put(PutRequest(tiny, more=(tmp_path / "LICENSE",))).manifest.model
    export(full, tmp_path / "both.tar", both, without=frozenset({Digest.of(tiny.read_bytes())}))
    with Store(machine) as store:
        store.put(PutRequest(tiny))
    assert bring(machine, tmp_path / "both.tar").uploaded_bytes == len("do what you like")
    with Store(machine) as store:
        assert store.get(both).path.read_bytes() == tiny.read_bytes()


def test_since_a_lock_what_it_names_is_left_out(full: Settings, tmp_path: Path, tiny: Path) -> None:
    with Store(full) as store:
        manifest = store.model(Digest.of(tiny.read_bytes())).manifest
    lock = tmp_path / "llstore.lock"
    lock.write_bytes(Lockfile.of([Locked.of(Wanted("chat", "team/chat"), manifest)]).encode())
    assert digests_in(lock) == {manifest.main.digest}
    lock.write_text("[models]\n")
    with pytest.raises(LockBroken, match="neither a bundle nor a lock"):
        digests_in(lock)


# Names.


def test_a_name_that_points_elsewhere_stays_unless_it_may_move(bundle: Path, machine: Settings, tmp_path: Path) -> None:
    mine = tiny_model.write_tiny(tmp_path / "mine.gguf", seed=9)
    with Store(machine) as store:
        digest = store.put(PutRequest(mine, name=CHAT)).manifest.model
    done = bring(machine, bundle)
    assert [(kept.name, kept.here) for kept in done.kept_names] == [(str(CHAT), digest)]
    with Store(machine) as store:
        assert store.resolve(CHAT) == digest
    assert not bring(machine, bundle, move_names=True).kept_names
    with Store(machine) as store:
        assert store.resolve(CHAT) != digest


def test_what_the_store_says_of_a_model_it_goes_on_saying(bundle: Path, machine: Settings, tiny: Path) -> None:
    with Store(machine) as store:
        store.put(PutRequest(tiny, labels={"stage": "test"}))
    bring(machine, bundle)
    with Store(machine) as store:
        model = store.model(CHAT)
    assert (model.labels, model.annotations) == ({"stage": "test"}, {"source": "here"})


# Bundles that are not as they were written.


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def cut_at_the_end(data: bytes) -> bytes:
    return data[: -len(tar.END)]


def longer(data: bytes) -> bytes:
    return data + bytes(512)


def flipped(data: bytes) -> bytes:
    at = data.index(b"tail")
    return data[:at] + b"tale" + data[at + 4 :]


def relabelled(data: bytes) -> bytes:
    return data.replace(b'"stage":"prod"', b'"stage":prod"', 1)


def other_manifest(data: bytes) -> bytes:
    return data.replace(b'"architecture":"llama"', b'"architecture":"llamb"', 1)


def reordered(data: bytes) -> bytes:
    return repacked(data, lambda members: [members[0], *reversed(members[1:])])


def without_one(data: bytes) -> bytes:
    return repacked(data, lambda members: members[:-1])


def with_another(data: bytes) -> bytes:
    return repacked(data, lambda members: [*members, ("blobs/extra", b"x")])


def climbing(data: bytes) -> bytes:
    return repacked(data, lambda members: [*members[:3], ("../../escaped", members[3][1]), *members[4:]])


def absolute(data: bytes) -> bytes:
    return repacked(data, lambda members: [*members[:-1], ("/tmp/escaped", members[-1][1])])


def repacked(data: bytes, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [(member.name, archive.extractfile(member).read()) for member in archive.getmembers()]  # type: ignore[union-attr]
    pieces = [tar.header(name, len(body)) + body + tar.padding(len(body)) for name, body in change(members)]
    return b"".join(pieces) + tar.END


@pytest.mark.parametrize(
    "spoil",
    [
        cut,
        cut_at_the_end,
        longer,
        flipped,
        relabelled,
        other_manifest,
        reordered,
        without_one,
        with_another,
        climbing,
        absolute,
    ],
)
def test_a_spoiled_bundle_is_refused_and_nothing_of_it_is_seen(
    spoil: Callable[[bytes], bytes], small: bytes, machine: Settings, tmp_path: Path
) -> None:
    assert spoil(small) != small
    (tmp_path / "b.tar").write_bytes(spoil(small))
    with pytest.raises((Damaged, Unsafe)):
        bring(machine, tmp_path / "b.tar")
    assert visible(machine) == []
    assert not [path for path in machine.embedded.glob("partial/*") if path.is_file()]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_file_is_refused(kind: bytes, small: bytes, machine: Settings, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(small)) as archive:
        at = archive.getmembers()[3].offset
    data = bytearray(small)
    info = tarfile.TarInfo.frombuf(bytes(data[at : at + 512]), "utf-8", "strict")
    info.type, info.linkname = kind, "/etc/passwd"
    data[at : at + 512] = info.tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "b.tar").write_bytes(data)
    with pytest.raises(Damaged):
        bring(machine, tmp_path / "b.tar")
    assert visible(machine) == []


@pytest.mark.parametrize("data", [b"", b"GGUF", b"x" * 4096, bytes(10240)])
def test_what_is_no_bundle_is_refused(data: bytes, machine: Settings, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(Unsafe, match="is not a bundle"):
        bring(machine, tmp_path / "x.tar")


def test_a_bundle_of_a_later_llstore_is_said_to_be_one(small: bytes, machine: Settings, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(small)) as archive:
        index = archive.extractfile("bundle.json")
        assert index
        later = index.read().replace(b'"bundle":1,', b'"bundle":2,', 1)

    def newer(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        return [members[0], ("bundle.json", later), ("bundle.sha256", checksum(later)), *members[3:]]

    (tmp_path / "b.tar").write_bytes(repacked(small, newer))
    with pytest.raises(FormatTooNew):
        bring(machine, tmp_path / "b.tar")


def test_an_index_that_lies_with_the_right_checksum_is_refused(small: bytes, machine: Settings, tmp_path: Path) -> None:
    """Whoever writes checksums can write any index; what hashes say of models holds all the same."""

    def lying(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        manifest = members[3][1].replace(b'"role":"', b'"role": "', 1)
        index = members[1][1].replace(Digest.of(members[3][1]).hex.encode(), Digest.of(manifest).hex.encode())
        blob = (members[-1][0], members[-1][1][::-1])
        return [members[0], ("bundle.json", index), ("bundle.sha256", checksum(index)), *members[3:-1], blob]

    (tmp_path / "b.tar").write_bytes(repacked(small, lying))
    with pytest.raises(Damaged):
        bring(machine, tmp_path / "b.tar")
    assert visible(machine) == []


@given(data=st.data())
@hypothesis_settings(max_examples=60)
def test_no_flipped_bit_gets_through(
    small: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever byte of a header, an index, a list or a blob is another: the bundle is refused."""
    folder = tmp_path_factory.mktemp("flips")
    whole = bytearray(small)
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / "b.tar").write_bytes(whole)
    machine = Settings(cache=folder / "cache", data=folder / "data")
    with pytest.raises(StoreError):
        bring(machine, folder / "b.tar")
    assert visible(machine) == []


# The tar itself.


@pytest.mark.parametrize("size", [0, 1, 511, 512, 8**11 - 1, 8**11, 3 * 8**11])
def test_a_member_of_any_size_is_found_by_any_tar(size: int, tmp_path: Path) -> None:
    with (tmp_path / "x.tar").open("wb") as file:
        head = tar.header("blobs/a", size)
        file.write(head)
        file.seek(tar.length("blobs/a", size))
        file.write(tar.header("blobs/b", 3) + b"abc" + tar.padding(3) + tar.END)
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert [(member.name, member.size) for member in archive.getmembers()] == [("blobs/a", size), ("blobs/b", 3)]
    with (tmp_path / "x.tar").open("rb") as found:
        reader = tar.TarReader(found, path=tmp_path / "x.tar")
        assert reader.expect("blobs/a", size) == len(head)
        assert reader.take("blobs/b", most=3) == b"abc"
        reader.end()


# The commands.


def test_export_and_import_as_a_person_types_them(llstore: Command, tiny: Path, tmp_path: Path) -> None:
    digest = llstore("put", tiny, "--name", "t/tiny").stdout.strip()
    assert llstore("export", "t/tiny", "-o", "b.tar").stdout == "b.tar\n"
    refused = llstore("export", "t/tiny", "-o", "b.tar")
    assert (refused.returncode, "--force" in refused.stderr) == (1, True)
    other = {"LLSTORE_HOME": str(tmp_path / "elsewhere"), "LLSTORE_OFFLINE": "1"}
    assert llstore("import", "b.tar", **other).stdout.strip() == digest
    assert llstore("get", "t/tiny", **other).returncode == 0
    assert llstore("import", "absent.tar").returncode == 3
    assert llstore("import", tiny).returncode == 7
    assert llstore("import", "b.tar", "--name", "a/b").returncode == 2
    assert llstore("export", "t/absent", "-o", "c.tar").returncode == 3
    assert llstore("export", "t/tiny", "-o", "c.tar", "--since", "b.tar").returncode == 0
    lacking = llstore("import", "c.tar", LLSTORE_HOME=str(tmp_path / "third"))
    assert (lacking.returncode, digest in lacking.stderr) == (3, True)
