"""fsck finds what is wrong, in the cache and in the bucket, and mends it by the block."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llstore.store import Digest, PutRequest, Role, Settings, Store, ulid
from llstore.store.blocks import BLOCK_SIZE
from llstore.store.errors import Damaged, FileNotThere, Refused
from llstore.store.fsck.finding import Depth, Finding, Kind, Report
from llstore.store.gc.collector import Collector
from llstore.store.layout import JOURNAL, blob_key, blocks_key, journal_key, manifest_key
from llstore.store.progress import silent

DATA = os.urandom(3 * BLOCK_SIZE + 1000)
FULL = Depth(full=True)
MEND = Depth(full=True, repair=True)


@pytest.fixture(params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Settings:
    url = request.getfixturevalue("bucket") if request.param == "s3" else (tmp_path / "shared").as_uri()
    (tmp_path / "shared").mkdir()
    return Settings(cache=home / "cache", data=home / "data", url=url)


@pytest.fixture
def store(shared: Settings, tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "file").write_bytes(DATA)
    with Store(shared) as found:
        found.put(PutRequest(tmp_path / "file", role=Role.OTHER))
        found.get(DIGEST)
        yield found


DIGEST = Digest.of(DATA)


def flip(path: Path, at: int) -> None:
    """Damage a file as a bad disk would: neither its size nor its times tell."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 8]))
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def read(store: Store, key: str) -> bytes:
    return b"".join(store.bucket.backend.read(key))


def kinds(report: Report) -> list[Kind]:
    return [finding.kind for finding in report.findings]


def only(report: Report) -> Finding:
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


@pytest.mark.parametrize("depth", [Depth(), FULL, MEND, Depth(sample=0.5)])
def test_nothing_is_wrong_with_what_is_right(store: Store, depth: Depth) -> None:
    report = store.fsck(depth, bucket=True)
    assert (report.findings, report.sound) == ((), True)
    assert report.bytes_read == (2 * len(DATA) if depth.full else report.bytes_read)


def test_a_flipped_bit_is_found_and_costs_one_block(store: Store) -> None:
    path = store.cache.path(DIGEST)
    flip(path, 2 * BLOCK_SIZE + 77)
    finding = only(store.fsck(FULL))
    assert (finding.kind, finding.subject, finding.open) == (Kind.DAMAGED, str(DIGEST), True)
    assert "block 2" in finding.detail
    report = store.fsck(MEND)
    assert only(report).repaired
    assert report.bytes_fetched == BLOCK_SIZE
    assert path.read_bytes() == DATA
    assert len(list((store.cache.root / "quarantine").iterdir())) == 1
    assert store.fsck(FULL).findings == ()


def test_a_file_that_cannot_be_read_is_one_finding_and_does_not_end_the_check(store: Store) -> None:
    # As root nothing is refused: a folder in the place of a file is.
    listed = store.cache.root / blocks_key(DIGEST)
    listed.unlink()
    listed.mkdir()
    finding = only(store.fsck(FULL))
    assert (finding.kind, finding.subject, finding.open) == (Kind.UNREADABLE, str(DIGEST), True)
    assert str(listed) in finding.detail


def test_a_get_of_a_damaged_file_fetches_only_the_damaged_block(store: Store) -> None:
    path = store.cache.path(DIGEST)
    flip(path, 5)
    store.cache.distrust(DIGEST)
    assert store.get(DIGEST).fetched_bytes == BLOCK_SIZE
    assert path.read_bytes() == DATA


def test_a_full_sample_finds_a_flipped_bit_and_none_does_not_look(store: Store) -> None:
    flip(store.cache.path(DIGEST), 100)
    # The change left a new ctime: as a disk fault leaves none, the receipt is made to fit again.
    store.cache.record(DIGEST)
    assert store.fsck(Depth()).findings == ()
    assert kinds(store.fsck(Depth(sample=1.0))) == [Kind.DAMAGED]


def test_a_damaged_file_that_cannot_be_fetched_again_is_kept_in_quarantine(store: Store) -> None:
    flip(store.cache.path(DIGEST), 5)
    store.bucket.backend.delete(blob_key(DIGEST))
    finding = only(store.fsck(MEND))
    assert finding.open
    assert "not fetched again" in finding.detail
    assert [path.stat().st_size for path in (store.cache.root / "quarantine").iterdir()] == [len(DATA)]


@pytest.mark.parametrize("change", ["absent", "of another blob", "garbage"])
def test_a_cached_block_list_is_made_anew(store: Store, change: str) -> None:
    path = store.cache.root / blocks_key(DIGEST)
    right = path.read_bytes()
    path.unlink()
    if change != "absent":
        path.write_bytes(right[:-1] + b"x" if change == "of another blob" else b"garbage")
    finding = only(store.fsck(FULL))
    assert (finding.kind, finding.open) == (Kind.BLOCK_LIST, True)
    assert only(store.fsck(MEND)).repaired
    assert path.read_bytes() == right


def test_what_only_takes_space_is_harmless(store: Store) -> None:
    (store.cache.root / "blobs/sha256/README").write_text("?")
    part = store.cache.root / f"partial/{DIGEST.hex}.00000000-1-1.abcd.part"
    part.write_bytes(b"x")
    os.utime(part, (0, 0))
    report = store.fsck(FULL)
    assert set(kinds(report)) == {Kind.STRAY, Kind.LEFT_OVER}
    assert report.sound


@pytest.mark.parametrize("damage", ["flip", "shorten", "remove"])
def test_a_damaged_object_is_found_and_mended_from_the_cache(store: Store, damage: str) -> None:
    data = bytearray(DATA)
    data[BLOCK_SIZE] ^= 1
    if damage == "remove":
        store.bucket.backend.delete(blob_key(DIGEST))
    else:
        wrong = bytes(data if damage == "flip" else data[:-5])
        store.bucket.backend.write(blob_key(DIGEST), [wrong], size=len(wrong))
    finding = only(store.fsck(FULL, bucket=True))
    assert (finding.where, finding.kind) == ("bucket", Kind.MISSING if damage == "remove" else Kind.DAMAGED)
    assert only(store.fsck(MEND, bucket=True)).repaired
    assert b"".join(store.bucket.backend.read(blob_key(DIGEST))) == DATA
    assert store.fsck(FULL, bucket=True).findings == ()


def test_a_lost_manifest_and_a_lost_block_list_are_put_back(store: Store) -> None:
    store.bucket.backend.delete(manifest_key(DIGEST))
    store.bucket.backend.delete(blocks_key(DIGEST))
    assert set(kinds(store.fsck(Depth(), bucket=True))) == {Kind.MANIFEST, Kind.BLOCK_LIST}
    report = store.fsck(MEND, bucket=True)
    assert report.sound
    assert all(finding.repaired for finding in report.findings)
    assert store.fsck(FULL, bucket=True).findings == ()


def test_bytes_of_no_model_are_told_and_left_alone(store: Store) -> None:
    key = blob_key(Digest("ab" * 32))
    store.bucket.backend.write(key, [b"orphan"], size=6)
    report = store.fsck(FULL, bucket=True)
    assert (only(report).kind, report.sound) == (Kind.UNREFERENCED, True)
    assert store.bucket.backend.stat(key).size == 6


def test_a_block_list_that_lies_is_not_believed_and_said_so(store: Store, shared: Settings, tmp_path: Path) -> None:
    listed = bytearray(b"".join(store.bucket.backend.read(blocks_key(DIGEST))))
    listed[40] ^= 1
    store.bucket.backend.write(blocks_key(DIGEST), [bytes(listed)], size=len(listed))
    with Store(Settings(cache=tmp_path / "other", data=tmp_path / "data", url=shared.url)) as other:
        assert other.get(DIGEST).path.read_bytes() == DATA
        assert "block list" in other.warnings[0]
        assert other.cache.block_list(DIGEST) == store.cache.block_list(DIGEST)


def test_the_embedded_store_keeps_a_damaged_file_where_it_is(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    with Store(settings) as store:
        store.put(PutRequest(tmp_path / "file", role=Role.OTHER))
        flip(store.cache.path(DIGEST), 5)
        assert [finding.open for finding in store.fsck(MEND).findings] == [True]
        assert store.cache.path(DIGEST).exists()
        with pytest.raises(Damaged):
            store.get(DIGEST)


def test_what_readers_leave_out_of_the_journal_is_open(store: Store, shared: Settings) -> None:
    now = store.bucket.journal.clock()
    garbage = {
        journal_key(ulid.mint(now - 1)): b"no json",
        journal_key(ulid.mint(now + 3600)): b"",
        journal_key(ulid.mint(now - 5)): b'{"op":"tag","name":"a/b","model":"sha256:' + b"1" * 64 + b'","later":1}',
        "journal/README.md": b"hello",
        journal_key(ulid.mint(now - 2)): b'{"op":"explode"}',
        journal_key(ulid.mint(now - 3)): b'{"op":"put","model":"sha256:' + b"1" * 64 + b'"}',
        journal_key(ulid.mint(now - 4)): b'{"op":"tag","name":"a/b","model":"nothing"}',
    }
    for key, data in garbage.items():
        store.bucket.backend.write(key, [data], size=len(data))
    report = store.fsck(Depth(), bucket=True)
    assert {finding.subject for finding in report.findings} == set(garbage)
    assert set(kinds(report)) == {Kind.JOURNAL}
    assert not report.sound
    with Store(shared) as again:
        for _ in range(2):
            again.warnings.clear()
            assert [model.digest for model in again.models()] == [DIGEST]
            assert len(again.warnings) == 2  # every reader says so, whenever it looks
        with pytest.raises(Damaged, match=r"nothing was deleted: .* 6 more cannot be read"):
            Collector(again.bucket, again.catalog, silent).collect(grace=0)


def test_what_is_set_aside_lies_in_quarantine_with_who_did_it(store: Store, shared: Settings) -> None:
    (name,) = [stat.key for stat in store.bucket.backend.list(JOURNAL) if b'"put"' in read(store, stat.key)]
    whole = read(store, name)
    store.bucket.backend.write(name, [b"{"], size=1)
    with Store(replace(shared, data=shared.data / "other")) as other:
        assert other.models() == []
        with pytest.raises(Damaged, match="nothing was deleted"):
            Collector(other.bucket, other.catalog, silent).plan(grace=0)
        moved = other.set_aside(name, by="ada@here")
        assert read(other, moved) == b"{"
        note = json.loads(read(other, f"{moved}.note.json"))
        assert (note["key"], note["reason"], note["by"]) == (name, "not JSON", "ada@here")
        for key, error in ((name, FileNotThere), (JOURNAL + "x", FileNotThere)):
            with pytest.raises(error):
                other.set_aside(key, by="ada@here")
        assert [kind for kind in kinds(other.fsck(Depth(), bucket=True)) if kind is Kind.JOURNAL] == []
        # The put's intent is never over now: it holds the bytes for 7 days.
        plan = Collector(other.bucket, other.catalog, silent).plan(grace=-60)
        assert {found.digest for found in plan.held} == {DIGEST}
        other.bucket.backend.write(name, [whole], size=len(whole))
        with pytest.raises(Refused, match="nothing that readers leave out"):
            other.set_aside(name, by="ada@here")
