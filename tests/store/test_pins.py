"""Pins: a person's promise outlives the database; leases: a process's outlives nothing but itself."""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llstore.store import Digest
from llstore.store.cache.db import CacheDb
from llstore.store.cache.leases import FOREIGN_SECONDS, Leases
from llstore.store.cache.pins import Pins
from llstore.store.errors import DiskError
from llstore.store.transfer.partial import owner

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")
FOREIGN = "00000000-1-1"


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    return Pins(tmp_path / "cache" / "pins")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[CacheDb]:
    with CacheDb(tmp_path / "cache" / "cache.db") as found:
        yield found


@pytest.fixture
def leases(db: CacheDb) -> Leases:
    return Leases(db)


def test_a_pin_stays_until_it_is_taken_away(pins: Pins) -> None:
    assert pins.all() == frozenset()
    pins.add(ONE)
    pins.add(ONE)
    pins.add(TWO)
    assert pins.all() == {ONE, TWO}
    assert pins.remove(ONE)
    assert not pins.remove(ONE)
    assert pins.all() == {TWO}


def test_a_pin_is_an_empty_file_named_by_its_digest(pins: Pins, tmp_path: Path) -> None:
    pins.add(ONE)
    assert [path.name for path in (tmp_path / "cache" / "pins").iterdir()] == [ONE.hex]
    assert (tmp_path / "cache" / "pins" / ONE.hex).read_bytes() == b""


def test_other_files_among_the_pins_are_no_pins(pins: Pins, tmp_path: Path) -> None:
    pins.add(ONE)
    for name in ("README", ONE.hex.upper(), ONE.hex[:40]):
        (tmp_path / "cache" / "pins" / name).touch()
    assert pins.all() == {ONE}


def test_a_pin_that_cannot_be_promised_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("a file where the folder should be")
    for attempt in (Pins(tmp_path / "pins").all, lambda: Pins(tmp_path / "pins").add(ONE)):
        with pytest.raises(DiskError, match="not a directory"):
            attempt()


def test_a_lease_lasts_as_long_as_its_context(leases: Leases) -> None:
    with leases.hold(ONE), leases.hold(ONE):
        assert leases.held() == {ONE}
        with leases.hold(TWO):
            assert leases.held() == {ONE, TWO}
    assert leases.held() == frozenset()


def test_a_lease_ends_when_its_process_fails(leases: Leases) -> None:
    with pytest.raises(RuntimeError), leases.hold(ONE):
        raise RuntimeError
    assert leases.held() == frozenset()


def die_holding(database: Path) -> None:
    with CacheDb(database) as db, Leases(db).hold(ONE):
        os._exit(9)


def test_a_lease_of_a_dead_process_is_ignored_and_swept(leases: Leases, db: CacheDb) -> None:
    process = multiprocessing.get_context("spawn").Process(target=die_holding, args=(db.path,))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert len(db.read("SELECT * FROM leases")) == 1
    with leases.hold(TWO):
        assert leases.held() == {TWO}
        assert leases.sweep() == 1
        assert leases.held() == {TWO}
    assert db.read("SELECT * FROM leases") == []


def test_a_number_used_again_by_another_process_holds_no_lease(leases: Leases, db: CacheDb) -> None:
    host, pid, start = owner().split("-")
    if start == "0":
        pytest.skip("this system does not tell when a process started")
    insert(db, ONE, who=f"{host}-{pid}-{int(start) + 1}")
    assert leases.held() == frozenset()


def test_a_lease_of_another_host_counts_for_a_day(leases: Leases, db: CacheDb) -> None:
    import time

    insert(db, ONE, who=FOREIGN, since=time.time() - FOREIGN_SECONDS + 60)
    insert(db, TWO, who=FOREIGN, since=time.time() - FOREIGN_SECONDS - 60)
    assert leases.held() == {ONE}
    assert leases.sweep() == 1


@pytest.mark.parametrize("who", ["", "junk", "a-b-c", "a-1", "-", "x" * 300])
def test_a_lease_of_nobody_is_none(leases: Leases, db: CacheDb, who: str) -> None:
    insert(db, ONE, who=who)
    assert leases.held() == frozenset()
    assert leases.sweep() == 1


def test_where_the_database_cannot_be_used_work_goes_on_without_leases(tmp_path: Path) -> None:
    (tmp_path / "cache.db").mkdir()
    with CacheDb(tmp_path / "cache.db") as db, Leases(db).hold(ONE):
        assert Leases(db).held() == frozenset()


def insert(db: CacheDb, digest: Digest, *, who: str, since: float = 0.0) -> None:
    assert db.write(("INSERT INTO leases VALUES (?, ?, ?, ?)", (who + str(since), digest.hex, who, since)))
