"""Sync: machines with catalogs of their own see one store, whoever wrote it and in whatever order it arrived."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from clocked import NOW, Clocked
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import Recorded

from llstore.store import Digest, Manifest, Name, Role, snapshot, sync, ulid
from llstore.store.backends import Properties
from llstore.store.bucket import Bucket
from llstore.store.catalog.catalog import Catalog
from llstore.store.entry import (
    Entry,
    intent_entry,
    label_entry,
    put_entry,
    remove_entry,
    sweep_entry,
    tag_entry,
    untag_entry,
)
from llstore.store.errors import Damaged, FormatTooNew
from llstore.store.layout import JOURNAL, SNAPSHOT_KEY, journal_key
from llstore.store.manifest import FileEntry, ModelFacts
from llstore.store.snapshot import DAY

ONE, TWO = (Digest(digit * 64) for digit in "12")
NAME = Name("team/model")


@pytest.fixture
def backend() -> Clocked:
    return Clocked()


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with closing(Catalog(tmp_path / "catalog.db")) as found:
        yield found


def manifest(digest: Digest) -> Manifest:
    return Manifest((FileEntry(Role.WEIGHTS, digest, 7, digest),), ModelFacts(architecture="llama"))


def seen_by(catalog: Catalog) -> object:
    return (catalog.models(), catalog.named(NAME), catalog.history(name=NAME), catalog.seen())


def reads(recorded: Recorded, prefix: str) -> list[str]:
    return [call.key for call in recorded.calls if call.verb == "read" and call.key.startswith(prefix)]


def test_two_machines_see_each_other_after_one_sync(backend: Clocked, catalog: Catalog, tmp_path: Path) -> None:
    one, other = Bucket(backend), Bucket(backend)
    one.journal.append(put_entry(manifest(ONE)))
    one.journal.append(tag_entry(NAME, ONE))
    other.journal.append(put_entry(manifest(TWO)))
    with closing(Catalog(tmp_path / "other.db")) as theirs:
        assert sync.sync(one, catalog) == sync.sync(other, theirs) == []
        assert seen_by(catalog) == seen_by(theirs)
    assert {model.digest for model in catalog.models()} == {ONE, TWO}
    assert catalog.named(NAME) == ONE


def test_a_name_moved_by_two_at_once_ends_the_same_everywhere_with_both_moves_in_its_history(
    backend: Clocked, catalog: Catalog, tmp_path: Path
) -> None:
    one, other = Bucket(backend), Bucket(backend)
    with closing(Catalog(tmp_path / "other.db")) as theirs:
        mine, yours = one.journal.append(tag_entry(NAME, ONE)), other.journal.append(tag_entry(NAME, TWO))
        # Each takes in its own first, as a command does.
        catalog.apply([mine])
        theirs.apply([yours])
        sync.sync(one, catalog)
        sync.sync(other, theirs)
        assert seen_by(catalog) == seen_by(theirs)
    assert {entry.document["model"] for entry in catalog.history(name=NAME)} == {str(ONE), str(TWO)}
    assert catalog.named(NAME) == (ONE if mine.ulid > yours.ulid else TWO)


def test_a_second_sync_reads_only_what_is_new(backend: Clocked, catalog: Catalog) -> None:
    for number in range(50):
        Bucket(backend).journal.append(put_entry(manifest(Digest(f"{number:064x}"))))
        backend.now += 60
    sync.sync(Bucket(backend), catalog)
    new = Bucket(backend).journal.append(tag_entry(NAME, ONE))
    recorded = Recorded(backend)
    sync.sync(Bucket(recorded), catalog)
    assert reads(recorded, JOURNAL) == [journal_key(new.ulid)]
    (listed,) = [call for call in recorded.calls if call.verb == "list"]
    assert listed.after >= journal_key(ulid.lowest(backend.now - 17 * 60))


def test_a_store_where_nothing_happens_any_more_is_hardly_listed(backend: Clocked, catalog: Catalog) -> None:
    for number in range(50):
        Bucket(backend).journal.append(put_entry(manifest(Digest(f"{number:064x}"))))
    sync.sync(Bucket(backend), catalog)
    backend.now += 3600
    sync.sync(Bucket(backend), catalog)
    recorded = Recorded(backend)
    sync.sync(Bucket(recorded), catalog)
    (listed,) = [call for call in recorded.calls if call.verb == "list"]
    assert list(backend.list(JOURNAL, after=listed.after)) == []
    # What is written next is newer all the same than all that was not listed.
    bucket = Bucket(recorded)
    sync.sync(bucket, catalog)
    backend.now = NOW - 3600
    assert bucket.journal.append(intent_entry([])).ulid > catalog.latest()


def test_an_entry_that_arrives_an_hour_late_is_found_within_a_day(backend: Clocked, catalog: Catalog) -> None:
    bucket = Bucket(backend)
    bucket.journal.append(put_entry(manifest(ONE)))
    sync.sync(bucket, catalog)
    late = journal_key(ulid.mint(NOW - 3600))
    backend.write(late, [b'{"op":"tag","name":"team/model","model":"' + str(ONE).encode() + b'"}'], size=1)
    sync.sync(Bucket(backend), catalog)
    assert catalog.named(NAME) is None
    backend.now += DAY
    sync.sync(Bucket(backend), catalog)
    assert catalog.named(NAME) == ONE


def test_a_removed_model_is_gone_until_it_is_put_again(backend: Clocked, catalog: Catalog) -> None:
    bucket = Bucket(backend)
    for document in (put_entry(manifest(ONE)), tag_entry(NAME, ONE), remove_entry(ONE)):
        bucket.journal.append(document)
    sync.sync(bucket, catalog)
    assert (catalog.models(), catalog.model(ONE), catalog.holds(ONE), catalog.live()) == ([], None, False, set())
    assert catalog.starting_with(ONE.hex[:8]) == []
    backend.now += 5
    bucket.journal.append(put_entry(manifest(ONE)))
    sync.sync(bucket, catalog)
    (model,) = catalog.models()
    assert (model.digest, model.names, model.created_at) == (ONE, (str(NAME),), NOW + 5)


def old_and_new(backend: Clocked) -> Bucket:
    """A store with two days of entries of every kind, and some of today."""
    bucket = Bucket(backend)
    for document in (
        intent_entry([ONE]),
        put_entry(manifest(ONE)),
        label_entry(ONE, {"a": "b"}, annotations={"source": "é"}),
        tag_entry(NAME, ONE),
        sweep_entry([TWO], until=NOW + 5),
        put_entry(manifest(TWO)),
        untag_entry(NAME),
        tag_entry(NAME, TWO),
        remove_entry(ONE),
    ):
        bucket.journal.append(document)
        backend.now += 3600
    backend.now += 2 * DAY
    bucket.journal.append(tag_entry(Name("team/new"), TWO))
    return bucket


def test_a_first_sync_by_snapshot_is_short_and_gives_the_same(
    backend: Clocked, catalog: Catalog, tmp_path: Path
) -> None:
    bucket = old_and_new(backend)
    made = sync.write_snapshot(bucket, catalog)
    assert made.entries == 9
    recorded = Recorded(backend)
    with closing(Catalog(tmp_path / "other.db")) as fresh:
        assert sync.sync(Bucket(recorded), fresh) == []
        assert seen_by(fresh) == seen_by(catalog)
        assert list(fresh.history(model=ONE)) == list(catalog.history(model=ONE))
    assert len(reads(recorded, JOURNAL)) == 1


def test_two_machines_make_the_same_snapshot_on_one_day(backend: Clocked, catalog: Catalog, tmp_path: Path) -> None:
    bucket = old_and_new(backend)
    sync.write_snapshot(bucket, catalog)
    first = b"".join(backend.read(SNAPSHOT_KEY))
    bucket.journal.append(put_entry(manifest(Digest("3" * 64))))
    backend.now += 60
    with closing(Catalog(tmp_path / "other.db")) as fresh:
        sync.write_snapshot(Bucket(backend), fresh)
    assert b"".join(backend.read(SNAPSHOT_KEY)) == first


def test_no_entry_of_the_last_day_is_in_a_snapshot(backend: Clocked, catalog: Catalog) -> None:
    bucket = old_and_new(backend)
    made = sync.write_snapshot(bucket, catalog)
    assert ulid.seconds(made.until) <= backend.now - DAY
    _, entries = snapshot.decode(b"".join(backend.read(SNAPSHOT_KEY)))
    assert all(entry.ulid < made.until for entry in entries)


class Mirrored(Recorded):
    """The bucket as a mirror shows it: nothing can be listed."""

    @property
    def properties(self) -> Properties:
        return replace(self._backend.properties, listable=False, writable=False)


def test_a_mirror_s_names_are_those_of_its_snapshot_which_is_read_once(
    backend: Clocked, catalog: Catalog, tmp_path: Path
) -> None:
    bucket = old_and_new(backend)
    mirror = Mirrored(backend)
    with closing(Catalog(tmp_path / "mirror.db")) as there:
        assert sync.sync(Bucket(mirror), there) == []
        assert there.latest() == ""
        sync.write_snapshot(bucket, catalog)
        sync.sync(Bucket(mirror), there)
        assert there.named(NAME) == catalog.named(NAME) == TWO
        assert [model.digest for model in there.models()] == [TWO]
        # The tag of today is not in it.
        assert there.named(Name("team/new")) is None
        sync.sync(Bucket(mirror), there)
        assert len(reads(mirror, SNAPSHOT_KEY)) == 1
        backend.now += 2 * DAY
        sync.write_snapshot(bucket, catalog)
        sync.sync(Bucket(mirror), there)
        assert there.named(Name("team/new")) == TWO
        # A damaged one is said, and what was known stays.
        backend.write(SNAPSHOT_KEY, [b"junk"], size=4)
        (remark,) = sync.sync(Bucket(mirror), there)
        assert "what was known of" in remark
        assert there.named(NAME) == TWO
    with closing(Catalog(tmp_path / "fresh.db")) as fresh, pytest.raises(Damaged):
        sync.sync(Bucket(mirror), fresh)
    assert not [call for call in mirror.calls if call.verb == "list"]


@pytest.mark.parametrize("data", [b"", b"junk", b"\x1f\x8b\x08\x00rest", None])
def test_a_damaged_snapshot_costs_time_and_nothing_else(
    backend: Clocked, catalog: Catalog, tmp_path: Path, data: bytes | None
) -> None:
    bucket = old_and_new(backend)
    sync.write_snapshot(bucket, catalog)
    broken = b"".join(backend.read(SNAPSHOT_KEY))[:-20] if data is None else data
    backend.write(SNAPSHOT_KEY, [broken], size=len(broken))
    with closing(Catalog(tmp_path / "other.db")) as fresh:
        remarks = sync.sync(Bucket(backend), fresh)
        assert len(remarks) == 1
        assert "reading the journal instead" in remarks[0]
        assert seen_by(fresh) == seen_by(catalog)


def test_a_later_snapshot_is_refused_as_later() -> None:
    data = snapshot.encode([], until=ulid.lowest(NOW))
    import gzip

    later = gzip.compress(gzip.decompress(data).replace(b'"format":1', b'"format":2'))
    with pytest.raises(FormatTooNew):
        snapshot.decode(later)
    with pytest.raises(Damaged):
        snapshot.decode(gzip.compress(b"{}\n"))


def test_a_bucket_begun_anew_at_the_same_place_is_not_taken_for_the_old_one(backend: Clocked, catalog: Catalog) -> None:
    bucket = Bucket(backend)
    bucket.journal.append(put_entry(manifest(ONE)))
    sync.sync(bucket, catalog)
    for stat in list(backend.list("")):
        backend.delete(stat.key)
    other = Bucket(backend)
    other.journal.append(put_entry(manifest(TWO)))
    sync.sync(other, catalog)
    assert [model.digest for model in catalog.models()] == [TWO]


documents = st.lists(
    st.sampled_from(
        [
            put_entry(manifest(ONE)),
            put_entry(manifest(TWO)),
            remove_entry(ONE),
            remove_entry(TWO),
            tag_entry(NAME, ONE),
            tag_entry(NAME, TWO),
            untag_entry(NAME),
            label_entry(ONE, {"a": "b"}),
            label_entry(ONE, {"a": None}, annotations={"n": "t"}),
        ]
    ),
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(documents, st.data())
def test_the_order_in_which_entries_arrive_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, documents: list[dict[str, object]], data: st.DataObject
) -> None:
    entries = [Entry(ulid.lowest(NOW + second), dict(document)) for second, document in enumerate(documents)]
    folder = tmp_path_factory.mktemp("catalogs")
    with closing(Catalog(folder / "one.db")) as one, closing(Catalog(folder / "other.db")) as other:
        one.apply(entries)
        for entry in data.draw(st.permutations(entries)):
            other.apply([entry])
        assert seen_by(other) == seen_by(one)
        # What the entries mean, told again in plain data.
        live: dict[object, bool] = {}
        for document in documents:
            if document["op"] in ("put", "remove"):
                live[document["model"]] = document["op"] == "put"
        assert {str(model.digest) for model in one.models()} == {model for model, is_live in live.items() if is_live}
        moves = [document for document in documents if document["op"] in ("tag", "untag")]
        named = one.named(NAME)
        assert (str(named) if named else None) == (moves[-1].get("model") if moves else None)
