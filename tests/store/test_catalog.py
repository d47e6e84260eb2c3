"""The catalog: the same entries give the same names, labels and models, in whatever order they come."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from llstore.store import Digest, Manifest, Model, Name, Role, ulid
from llstore.store.catalog.catalog import Catalog
from llstore.store.catalog.file import disk_errors
from llstore.store.entry import Entry, intent_entry, label_entry, put_entry, tag_entry
from llstore.store.errors import NoSpace
from llstore.store.manifest import FileEntry, ModelFacts

BEGAN = 1_760_000_000
ONE, TWO, THREE = (Digest(digit * 64) for digit in "123")
NAMES = (Name("team/model"), Name("team/model", "q4"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "catalog.db"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    with closing(Catalog(path)) as found:
        yield found


def manifest(digest: Digest, *, role: Role = Role.WEIGHTS) -> Manifest:
    return Manifest((FileEntry(role, digest, 7, digest),), ModelFacts(architecture="llama"))


def at(second: int, document: dict[str, Any]) -> Entry:
    return Entry(ulid.lowest(BEGAN + second), document)


def put(second: int, digest: Digest, *, role: Role = Role.WEIGHTS) -> Entry:
    return at(second, put_entry(manifest(digest, role=role)))


def names(catalog: Catalog) -> dict[Name, Digest | None]:
    return {name: catalog.named(name) for name in NAMES}


def test_a_model_is_what_its_entries_say(catalog: Catalog) -> None:
    labels = {"license": "apache-2.0", "lang": "en"}
    entries = [
        put(1, ONE),
        at(2, tag_entry(NAMES[1], ONE)),
        at(3, tag_entry(NAMES[0], ONE)),
        at(4, label_entry(ONE, labels)),
    ]
    assert catalog.apply(entries) == []
    wanted = Model(manifest(ONE), names=("team/model:latest", "team/model:q4"), labels=labels, created_at=BEGAN + 1)
    assert catalog.model(ONE) == wanted
    assert catalog.models() == [wanted]
    assert catalog.seen() == {entry.ulid for entry in entries}


def test_an_empty_catalog_knows_nothing(catalog: Catalog) -> None:
    assert (catalog.seen(), catalog.models(), catalog.model(ONE)) == (set(), [], None)
    assert catalog.named(NAMES[0]) is None
    assert catalog.starting_with("11111111") == []


def test_models_are_listed_newest_first(catalog: Catalog) -> None:
    catalog.apply([put(2, TWO), put(3, ONE), put(1, THREE)])
    assert [model.digest for model in catalog.models()] == [ONE, TWO, THREE]


def test_a_name_points_where_it_was_moved_last(catalog: Catalog) -> None:
    catalog.apply([put(1, ONE), put(1, TWO), at(5, tag_entry(NAMES[0], TWO)), at(4, tag_entry(NAMES[0], ONE))])
    assert catalog.named(NAMES[0]) == TWO
    assert catalog.model(ONE) == Model(manifest(ONE), created_at=BEGAN + 1)


def test_a_label_has_its_last_value_and_leaves_the_others(catalog: Catalog) -> None:
    catalog.apply(
        [put(1, ONE), at(3, label_entry(ONE, {"a": "new"})), at(2, label_entry(ONE, {"a": "old", "b": "kept"}))]
    )
    found = catalog.model(ONE)
    assert found is not None
    assert found.labels == {"a": "new", "b": "kept"}


def test_a_model_put_again_is_as_old_as_its_first_put(catalog: Catalog) -> None:
    catalog.apply([put(5, ONE, role=Role.OTHER), put(2, ONE), put(9, ONE, role=Role.OTHER)])
    assert catalog.model(ONE) == Model(manifest(ONE), created_at=BEGAN + 2)


def test_intents_sweeps_and_what_is_not_known_yet_change_nothing_but_are_seen(catalog: Catalog) -> None:
    documents = [intent_entry([ONE]), {"op": "sweep", "digests": [str(ONE)], "until": 1}, {"op": "later"}, {}]
    unknown = catalog.apply(at(second, document) for second, document in enumerate(documents))
    assert [one.reason for one in unknown] == [f"{op!r} is nothing that this llstore knows" for op in ("later", "None")]
    assert catalog.skipped() == unknown
    assert catalog.models() == []
    assert len(catalog.seen()) == 4


digests = st.sampled_from([ONE, TWO, THREE])
labels = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y", "z"]), max_size=2)
documents = st.lists(
    st.builds(lambda digest, role: put_entry(manifest(digest, role=role)), digests, st.sampled_from(Role))
    | st.builds(tag_entry, st.sampled_from(NAMES), digests)
    | st.builds(label_entry, digests, labels)
    | st.builds(lambda digest: intent_entry([digest]), digests),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(documents, st.data())
def test_the_order_of_entries_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, documents: list[dict[str, Any]], data: st.DataObject
) -> None:
    entries = [at(second, document) for second, document in enumerate(documents)]
    others = data.draw(st.permutations(entries))
    cut = data.draw(st.integers(0, len(entries)))
    folder = tmp_path_factory.mktemp("catalogs")
    with closing(Catalog(folder / "one.db")) as one, closing(Catalog(folder / "other.db")) as other:
        one.apply(entries)
        # In two helpings that overlap: a sync looks back, and may meet what it has seen.
        other.apply(others[:cut])
        other.apply(others[max(0, cut - 2) :])
        assert other.models() == one.models()
        assert names(other) == names(one)
        assert other.seen() == one.seen() == {entry.ulid for entry in entries}


def test_a_catalog_keeps_what_it_was_told(path: Path) -> None:
    with closing(Catalog(path)) as catalog:
        catalog.apply([put(1, ONE), at(2, tag_entry(NAMES[0], ONE))])
    with closing(Catalog(path)) as catalog:
        assert catalog.named(NAMES[0]) == ONE
        assert len(catalog.seen()) == 2


def test_a_prefix_finds_exactly_the_models_that_start_with_it(catalog: Catalog) -> None:
    chance = random.Random(0)
    found = [Digest("abcdef0" + f"{chance.getrandbits(228):057x}") for _ in range(40)] + [
        ONE,
        Digest("abcdef1" + "0" * 57),
    ]
    found.append(Digest("0" * 32 + found[0].hex[:32]))
    catalog.apply(put(second, digest) for second, digest in enumerate(found))
    for prefix in {digest.hex[:length] for digest in found for length in (7, 8, 9, 63, 64)} | {"f" * 8}:
        assert catalog.starting_with(prefix) == sorted(digest for digest in found if digest.hex.startswith(prefix))


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def junk(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(20_000))


def text(path: Path) -> None:
    path.write_text("this is no database\n" * 500)


def other_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.commit()


def other_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE names (something TEXT)")
        connection.commit()


def damaged_pages(path: Path) -> None:
    # The first page, with the schema and its version, is whole; the rest is not.
    data = path.read_bytes()
    path.write_bytes(data[:4096] + random.Random(0).randbytes(len(data) - 4096))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [nothing, junk, text, other_schema, other_database, damaged_pages, cut_short])
def test_a_damaged_catalog_or_one_of_another_schema_starts_anew(path: Path, damage: Callable[[Path], None]) -> None:
    entries = [put(second, Digest(f"{second:064x}")) for second in range(200)]
    with closing(Catalog(path)) as catalog:
        catalog.apply(entries)
    damage(path)
    with closing(Catalog(path)) as catalog:
        assert catalog.seen() == set()
        assert catalog.models() == []
        assert catalog.apply(entries) == []
        assert len(catalog.models()) == 200


def test_a_catalog_that_cannot_be_made_is_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "folder", tmp_path / "file" / "catalog.db"):
        with closing(Catalog(path)) as catalog:
            assert catalog.apply([put(1, ONE), at(2, tag_entry(NAMES[0], ONE))]) == []
            assert catalog.named(NAMES[0]) == ONE
        assert not path.is_file()


def test_a_catalog_that_is_locked_is_read_and_what_it_learns_is_kept_in_memory(path: Path) -> None:
    with closing(Catalog(path)) as catalog:
        catalog.apply([put(1, ONE)])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            # Not after the half minute that it would wait for another's writing.
            event.listen(
                catalog._file._engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 1")
            )
            catalog._file._engine.dispose()
            assert catalog.apply([at(2, tag_entry(NAMES[0], ONE))]) == []
            assert catalog.named(NAMES[0]) == ONE
    with closing(Catalog(path)) as catalog:
        assert (len(catalog.models()), catalog.named(NAMES[0])) == (1, None)


MALFORMED = {
    "put without a manifest": {"op": "put"},
    "put of null": {"op": "put", "manifest": None},
    "put of a later format": {"op": "put", "manifest": {"format": 2}},
    "put of half a character": put_entry(Manifest(manifest(ONE).files, ModelFacts(architecture="\ud800"))),
    "put of a huge size": put_entry(Manifest((FileEntry(Role.OTHER, ONE, 1 << 70, ONE),), ModelFacts())),
    "tag without a model": {"op": "tag", "name": "team/model"},
    "tag of a number": {"op": "tag", "name": 7, "model": str(ONE)},
    "tag of no name": {"op": "tag", "name": "model", "model": str(ONE)},
    "tag of no digest": {"op": "tag", "name": "team/model", "model": "1" * 64},
    "labels that are none": {"op": "label", "model": str(ONE), "labels": ["a"]},
    "label of a list": {"op": "label", "model": str(ONE), "labels": {"a": ["b"]}},
    "label of half a character": {"op": "label", "model": str(ONE), "labels": {"a": "\ud800"}},
    "label of a huge number": {"op": "label", "model": str(ONE), "labels": {"a": 1 << 70}},
}


@pytest.mark.parametrize("of", MALFORMED)
def test_an_entry_that_cannot_be_understood_is_reported_and_stops_no_other(catalog: Catalog, of: str) -> None:
    entries = [put(1, ONE), at(2, MALFORMED[of]), at(3, tag_entry(NAMES[1], ONE))]
    problems = catalog.apply(entries)
    assert len(problems) == 1
    assert entries[1].ulid in problems[0].key
    assert catalog.named(NAMES[1]) == ONE
    assert catalog.models() == [Model(manifest(ONE), names=("team/model:q4",), created_at=BEGAN + 1)]


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as small:
        small.execute("PRAGMA max_page_count = 1")
        with pytest.raises(sqlite3.OperationalError) as full:
            small.execute("CREATE TABLE t (x)")
    with pytest.raises(NoSpace, match="no space left"), disk_errors(tmp_path):
        raise OperationalError("CREATE", {}, full.value)
