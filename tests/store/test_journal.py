"""The journal: entries in the order they were made, whatever the clocks say and whoever else wrote there."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from clocked import NOW
from clocked import Clocked as Bucket

from llstore.store import Digest, Manifest, Name, Role, ulid
from llstore.store.backends import Stat
from llstore.store.entry import (
    MOST_AHEAD,
    Entry,
    Skipped,
    ended_entry,
    intent_entry,
    label_entry,
    put_entry,
    remove_entry,
    sweep_entry,
    tag_entry,
    untag_entry,
)
from llstore.store.journal import Journal
from llstore.store.layout import journal_key
from llstore.store.manifest import FileEntry, ModelFacts

ONE, TWO = Digest("1" * 64), Digest("2" * 64)


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def write(bucket: Bucket, key: str, data: bytes) -> None:
    bucket.write(key, [data], size=len(data))


def write_entry(bucket: Bucket, *, ahead: float, document: dict[str, Any] | None = None) -> str:
    """An entry whose name is `ahead` seconds ahead of its object's age."""
    name = ulid.mint(bucket.now + ahead)
    write(bucket, journal_key(name), json.dumps(document or {"op": "intent"}).encode())
    return name


def ulids(found: Iterable[Entry | Skipped]) -> list[str]:
    return [item.ulid for item in found if isinstance(item, Entry)]


def skipped(bucket: Bucket) -> list[tuple[str, str]]:
    return [(item.key, item.reason) for item in Journal(bucket).read(seen=()) if isinstance(item, Skipped)]


def test_what_was_appended_is_read(bucket: Bucket) -> None:
    entry = Journal(bucket).append(tag_entry(Name("team/model"), ONE))
    assert entry.op == "tag"
    assert list(Journal(bucket).read(seen=())) == [entry]


def test_an_entry_is_canonical_json_under_its_ulid(bucket: Bucket) -> None:
    entry = Journal(bucket).append({"op": "label", "labels": {"b": "é", "a": "1"}})
    stored = b"".join(bucket.read(f"journal/{entry.ulid}.json"))
    assert stored == '{"labels":{"a":"1","b":"é"},"op":"label"}'.encode()


def test_entries_follow_one_another_within_a_millisecond(bucket: Bucket) -> None:
    journal = Journal(bucket)
    made = [journal.append({"op": "intent", "number": number}).ulid for number in range(200)]
    assert made == sorted(set(made))
    assert ulids(Journal(bucket).read(seen=())) == made


def test_entries_follow_one_another_when_the_clock_goes_back(bucket: Bucket) -> None:
    journal = Journal(bucket)
    first = journal.append({"op": "intent"}).ulid
    bucket.now -= 300
    assert journal.append({"op": "intent"}).ulid > first


def test_an_entry_follows_those_of_other_writers_that_were_seen(bucket: Bucket) -> None:
    theirs = write_entry(bucket, ahead=MOST_AHEAD - 60)
    journal = Journal(bucket)
    list(journal.read(seen={theirs}))
    assert journal.append({"op": "intent"}).ulid > theirs


def test_an_entry_is_named_by_the_store_s_clock(bucket: Bucket) -> None:
    assert ulid.seconds(Journal(bucket).append({"op": "intent"}).ulid) == NOW


def test_seen_entries_are_not_read_again(bucket: Bucket) -> None:
    journal = Journal(bucket)
    first, second = (journal.append({"op": "intent", "number": number}) for number in range(2))
    assert ulids(journal.read(seen={first.ulid})) == [second.ulid]
    assert ulids(journal.read(seen={first.ulid, second.ulid})) == []


def test_reading_from_a_moment_leaves_out_what_is_older(bucket: Bucket) -> None:
    names = []
    for _ in range(3):
        names.append(write_entry(bucket, ahead=0))
        bucket.now += 60
    assert ulids(Journal(bucket).read(seen=(), since=NOW + 60)) == names[1:]
    assert ulids(Journal(bucket).read(seen=(), since=NOW + 180)) == []


def moments(bucket: Bucket) -> dict[str, str]:
    return {item.ulid: item.moment for item in Journal(bucket).read(seen=()) if isinstance(item, Entry)}


@pytest.mark.parametrize("op", ["tag", "untag", "label", "remove"])
def test_what_is_named_11_minutes_ahead_counts_from_when_it_was_written(bucket: Bucket, op: str) -> None:
    first = write_entry(bucket, ahead=0)
    bucket.now += 60
    near, far = (write_entry(bucket, ahead=minutes * 60, document={"op": op}) for minutes in (9, 11))
    bucket.now += 0.001
    later = write_entry(bucket, ahead=11 * 60, document={"op": op})
    bucket.now += 60
    after = write_entry(bucket, ahead=0)
    found = moments(bucket)
    assert found[near] == near
    assert first < found[far] < found[later] < after


@pytest.mark.parametrize("op", ["put", "intent", "sweep", "later"])
def test_what_keeps_bytes_counts_whatever_its_name_and_date(bucket: Bucket, op: str) -> None:
    write_entry(bucket, ahead=0)
    ahead = write_entry(bucket, ahead=3600, document={"op": op})
    assert moments(bucket)[ahead] == ahead


def test_dates_before_the_first_entry_tell_nothing(bucket: Bucket) -> None:
    names = []
    for _ in range(3):
        names.append(write_entry(bucket, ahead=0, document={"op": "tag"}))
        bucket.now += 3600
    bucket.now = NOW - 365 * 86400
    for name in names:
        write(bucket, journal_key(name), b"".join(bucket.read(journal_key(name))))
    assert moments(bucket) == {name: name for name in names}


def test_an_entry_from_the_future_does_not_drag_the_next_ones_along(bucket: Bucket) -> None:
    write_entry(bucket, ahead=10 * 365 * 86400)
    journal = Journal(bucket)
    list(journal.read(seen=()))
    assert ulid.seconds(journal.append({"op": "intent"}).ulid) == NOW


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"put"', "not a JSON object"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_an_object_that_is_no_json_object_is_skipped_and_reported(bucket: Bucket, data: bytes, reason: str) -> None:
    entry = Journal(bucket).append({"op": "intent"})
    name = ulid.mint(NOW)
    write(bucket, journal_key(name), data)
    assert ulids(Journal(bucket).read(seen=())) == [entry.ulid]
    assert skipped(bucket) == [(journal_key(name), reason)]


@pytest.mark.parametrize(
    "key",
    [
        "journal/README.json",
        "journal/.json",
        "journal/01arz3ndektsv4rrffq69g5fav.json",
        "journal/81ARZ3NDEKTSV4RRFFQ69G5FAV.json",
        "journal/folder/01ARZ3NDEKTSV4RRFFQ69G5FAV.json",
        "journal/01ARZ3NDEKTSV4RRFFQ69G5FAV.json.json",
        "journal/01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ],
)
def test_an_object_that_is_not_named_by_a_ulid_is_skipped_and_reported(bucket: Bucket, key: str) -> None:
    entry = Journal(bucket).append({"op": "intent"})
    write(bucket, key, b'{"op": "intent"}')
    assert ulids(Journal(bucket).read(seen=())) == [entry.ulid]
    assert skipped(bucket) == [(key, "not named by a ULID")]


def test_objects_outside_the_journal_are_not_entries(bucket: Bucket) -> None:
    write(bucket, f"blobs/{ulid.mint(NOW)}.json", b'{"op": "intent"}')
    write(bucket, f"journals/{ulid.mint(NOW)}.json", b'{"op": "intent"}')
    assert list(Journal(bucket).read(seen=())) == []


def test_an_operation_that_is_not_known_is_still_an_entry(bucket: Bucket) -> None:
    write_entry(bucket, ahead=0, document={"op": "later", "what": [1]})
    write_entry(bucket, ahead=0, document={"no": "op"})
    assert {entry.op for entry in Journal(bucket).read(seen=()) if isinstance(entry, Entry)} == {"later", "None"}


def test_entries_say_what_was_done() -> None:
    manifest = Manifest((FileEntry(Role.OTHER, ONE, 7, TWO),), ModelFacts())
    assert put_entry(manifest) == {"op": "put", "model": str(ONE), "manifest": manifest.document()}
    assert tag_entry(Name("team/model", "q4"), ONE) == {"op": "tag", "name": "team/model:q4", "model": str(ONE)}
    assert label_entry(ONE, {"a": "b"}) == {"op": "label", "model": str(ONE), "labels": {"a": "b"}}
    assert intent_entry(iter([ONE, TWO])) == {"op": "intent", "digests": [str(ONE), str(TWO)]}
    assert label_entry(ONE, {}, annotations={"a": None}) == {
        "op": "label",
        "model": str(ONE),
        "labels": {},
        "annotations": {"a": None},
    }
    assert put_entry(manifest, intent="X")["intent"] == ended_entry("X")["intent"] == "X"
    assert remove_entry(ONE) == {"op": "remove", "model": str(ONE)}
    assert untag_entry(Name("team/model")) == {"op": "untag", "name": "team/model:latest"}
    assert sweep_entry([ONE], until=7.5) == {"op": "sweep", "digests": [str(ONE)], "until": 7.5}


class WrongClock(Bucket):
    """A bucket whose clock is not the one that its objects are stamped by."""

    wrong = 0.0

    def clock(self) -> float:
        return self.now + self.wrong

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        super().write(key, chunks, size=size)
        self._objects[key] = (self._objects[key][0], self.now)


@pytest.mark.parametrize("wrong", [-3600.0, 3600.0, -3 * 365 * 86400.0, 3 * 365 * 86400.0])
def test_a_writer_whose_clock_is_wrong_writes_entries_that_every_reader_takes(wrong: float) -> None:
    bucket = WrongClock()
    before = Journal(bucket).append({"op": "intent", "number": 0}).ulid
    bucket.now += 1
    bucket.wrong = wrong
    journal = Journal(bucket)
    list(journal.read(seen=()))
    entry = journal.append({"op": "intent", "number": 1})
    bucket.now += 1
    bucket.wrong = 0.0
    after = Journal(bucket)
    found = ulids(after.read(seen=()))
    assert entry.ulid in found
    assert abs(ulid.seconds(entry.ulid) - NOW) < 120
    assert before < entry.ulid < after.append({"op": "intent", "number": 2}).ulid


class Together(Bucket):
    """A bucket that gives many objects at once: most right, some not at all, some wrong."""

    def read_together(self, stats: list[Stat]) -> list[bytes | None]:
        self.asked = len(stats)
        found: list[bytes | None] = [b"".join(self.read(stat.key)) for stat in stats]
        found[1], found[2] = None, b"junk"
        return found


def test_many_entries_are_read_together_and_what_came_wrong_is_read_again() -> None:
    bucket = Together()
    journal = Journal(bucket)
    made = [journal.append({"op": "intent", "number": number}) for number in range(200)]
    assert list(Journal(bucket).read(seen=())) == made
    assert bucket.asked > 10
    bucket.asked = 0
    assert list(Journal(bucket).read(seen={entry.ulid for entry in made[5:]})) == made[:5]
    assert bucket.asked == 0, "a few come as fast one by one"
