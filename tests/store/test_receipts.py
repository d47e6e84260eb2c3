"""Receipts: a cached file is trusted only while nothing about it has changed, and losing them harms nobody."""

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from llstore.store import Digest
from llstore.store.cache import db as cache_db
from llstore.store.cache.db import CacheDb
from llstore.store.cache.receipts import Receipts, stamp

CLOCK_TICK = 0.02  # the kernel's clock for ctime stands still for some milliseconds
DATA = b"the bytes of a model"
DIGEST = Digest.of(DATA)


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    time.sleep(CLOCK_TICK)
    return path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "cache.db"


@pytest.fixture
def db(database: Path) -> Iterator[CacheDb]:
    with CacheDb(database) as found:
        yield found


@pytest.fixture
def receipts(db: CacheDb) -> Receipts:
    return Receipts(db)


@contextmanager
def opened(database: Path) -> Iterator[Receipts]:
    with CacheDb(database) as db:
        yield Receipts(db)


def test_a_verified_file_has_a_receipt(receipts: Receipts, blob: Path) -> None:
    assert not receipts.holds(blob, DIGEST)
    receipts.record(blob, DIGEST)
    assert receipts.holds(blob, DIGEST)


def test_a_receipt_outlives_the_process(receipts: Receipts, db: CacheDb, database: Path, blob: Path) -> None:
    receipts.record(blob, DIGEST)
    db.close()
    with opened(database) as later:
        assert later.holds(blob, DIGEST)


def test_a_receipt_is_seen_by_others_at_once(receipts: Receipts, database: Path, blob: Path) -> None:
    receipts.record(blob, DIGEST)
    with opened(database) as other:
        assert other.holds(blob, DIGEST)


def test_a_receipt_is_for_one_digest_and_one_path(receipts: Receipts, blob: Path) -> None:
    receipts.record(blob, DIGEST)
    assert not receipts.holds(blob, Digest.of(b"other"))
    twin = blob.with_name("twin")
    twin.hardlink_to(blob)
    assert not receipts.holds(twin, DIGEST)


def test_a_receipt_is_used_as_often_as_one_likes(receipts: Receipts, blob: Path) -> None:
    for _ in range(3):
        receipts.record(blob, DIGEST)
        assert receipts.holds(blob, DIGEST)


def longer(blob: Path) -> None:
    with blob.open("ab") as file:
        file.write(b"!")


def longer_but_dated_back(blob: Path) -> None:
    before = blob.stat()
    longer(blob)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))


def rewritten(blob: Path) -> None:
    blob.write_bytes(DATA.swapcase())


def rewritten_but_dated_back(blob: Path) -> None:
    before = blob.stat()
    rewritten(blob)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))


def touched(blob: Path) -> None:
    before = blob.stat()
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def made_writable(blob: Path) -> None:
    blob.chmod(0o600)


def replaced_by_a_copy(blob: Path) -> None:
    copy = blob.with_name("copy")
    shutil.copy2(blob, copy)
    copy.replace(blob)


def removed(blob: Path) -> None:
    blob.unlink()


def made_a_folder(blob: Path) -> None:
    blob.unlink()
    blob.mkdir()


@pytest.mark.parametrize(
    "change",
    [
        longer,
        longer_but_dated_back,
        rewritten,
        rewritten_but_dated_back,
        touched,
        made_writable,
        replaced_by_a_copy,
        removed,
        made_a_folder,
    ],
)
def test_a_receipt_does_not_hold_for_a_file_that_changed(
    receipts: Receipts, blob: Path, change: Callable[[Path], None]
) -> None:
    receipts.record(blob, DIGEST)
    change(blob)
    assert not receipts.holds(blob, DIGEST)


STAT_FIELDS = {"inode": "st_ino", "size": "st_size", "mtime_ns": "st_mtime_ns", "ctime_ns": "st_ctime_ns"}


@pytest.mark.parametrize("column", STAT_FIELDS)
def test_a_receipt_rests_on_each_of_its_facts(
    receipts: Receipts, db: CacheDb, database: Path, blob: Path, column: str
) -> None:
    receipts.record(blob, DIGEST)
    db.close()
    with closing(sqlite3.connect(database)) as connection:
        (fact,) = connection.execute(f"SELECT {column} FROM receipts").fetchone()
        assert fact == getattr(blob.stat(), STAT_FIELDS[column])
        connection.execute(f"UPDATE receipts SET {column} = {column} + 1")
        connection.commit()
    assert not receipts.holds(blob, DIGEST)


def nothing(database: Path) -> None:
    database.write_bytes(b"")


def junk(database: Path) -> None:
    database.write_bytes(random.Random(0).randbytes(20_000))


def other_schema(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE receipts")
        connection.execute("CREATE TABLE receipts (path TEXT)")
        connection.execute("PRAGMA user_version = 99")
        connection.commit()


def damaged_pages(database: Path) -> None:
    # The first page, with the schema and its version, is whole; the rest is not.
    data = database.read_bytes()
    database.write_bytes(data[:4096] + random.Random(0).randbytes(len(data) - 4096))


def cut_short(database: Path) -> None:
    database.write_bytes(database.read_bytes()[:5000])


@pytest.mark.parametrize("damage", [nothing, junk, other_schema, damaged_pages, cut_short])
def test_a_damaged_database_is_an_empty_one_and_is_rebuilt(
    database: Path, blob: Path, damage: Callable[[Path], None]
) -> None:
    with opened(database) as receipts:
        receipts.record(blob, DIGEST)
    damage(database)
    with opened(database) as receipts:
        assert not receipts.holds(blob, DIGEST)
        receipts.record(blob, DIGEST)
        assert receipts.holds(blob, DIGEST)
    with opened(database) as receipts:
        assert receipts.holds(blob, DIGEST)


def a_folder(database: Path) -> None:
    database.mkdir(parents=True)


def below_a_file(database: Path) -> None:
    database.parent.write_text("a file where the folder should be")


def a_dangling_link(database: Path) -> None:
    database.parent.mkdir()
    database.symlink_to(database.parent / "absent" / "cache.db")


@pytest.mark.parametrize("obstacle", [a_folder, below_a_file, a_dangling_link])
def test_a_database_that_cannot_be_written_is_an_empty_one(
    database: Path, blob: Path, obstacle: Callable[[Path], None]
) -> None:
    obstacle(database)
    with opened(database) as receipts:
        receipts.record(blob, DIGEST)
        assert not receipts.holds(blob, DIGEST)


def test_a_receipt_is_read_where_nothing_can_be_written(
    receipts: Receipts, db: CacheDb, database: Path, blob: Path
) -> None:
    receipts.record(blob, DIGEST)
    db.close()
    database.chmod(0o444)
    database.parent.chmod(0o555)
    try:
        assert receipts.holds(blob, DIGEST)
        receipts.record(blob, DIGEST)
    finally:
        database.parent.chmod(0o755)


def test_a_database_that_is_removed_while_open_harms_nobody(
    receipts: Receipts, db: CacheDb, database: Path, blob: Path
) -> None:
    receipts.record(blob, DIGEST)
    database.unlink()
    receipts.record(blob, DIGEST)
    db.close()
    receipts.record(blob, DIGEST)
    assert receipts.holds(blob, DIGEST)


def test_a_file_that_changed_while_it_was_verified_has_no_receipt(receipts: Receipts, blob: Path) -> None:
    seen = stamp(blob.stat())
    blob.write_bytes(b"changed meanwhile")
    receipts.record(blob, DIGEST, seen=seen)
    assert not receipts.holds(blob, DIGEST)


def test_using_a_file_verifies_nothing(receipts: Receipts, blob: Path) -> None:
    receipts.touch(blob, now=time.time())
    assert not receipts.holds(blob, DIGEST)


def test_verifying_a_file_is_not_using_it(receipts: Receipts, blob: Path) -> None:
    os.utime(blob, (5000.0, 1000.0))
    receipts.record(blob, DIGEST)
    assert receipts.all()[str(blob)].used_at == 1000.0
    receipts.touch(blob, now=2000.0)
    receipts.record(blob, DIGEST)
    assert receipts.all()[str(blob)].used_at == 2000.0


def test_a_file_from_the_future_was_used_now(receipts: Receipts, blob: Path) -> None:
    os.utime(blob, (9e9, 9e9))
    receipts.record(blob, DIGEST)
    assert receipts.all()[str(blob)].used_at <= time.time()


@contextmanager
def locked(database: Path) -> Iterator[None]:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_a_locked_database_is_waited_for_once(
    receipts: Receipts, db: CacheDb, database: Path, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipts.record(blob, DIGEST)
    db.close()
    waits, connection = [], cache_db._connection

    def waiting(*arguments: object, **options: object) -> sqlite3.Connection:
        waits.append(1)
        return connection(*arguments, **options)

    monkeypatch.setattr(cache_db, "_LOCK_SECONDS", 0.1)
    monkeypatch.setattr(cache_db, "_connection", waiting)
    with locked(database):
        for _ in range(3):
            assert not receipts.holds(blob, DIGEST)
            receipts.record(blob, DIGEST)
        assert len(waits) == 1
    with opened(database) as later:
        assert later.holds(blob, DIGEST)


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_a_group_may_share_the_database_if_the_umask_says_so(tmp_path: Path, blob: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with opened(tmp_path / "shared" / "cache.db") as receipts:
            receipts.record(blob, DIGEST)
    finally:
        os.umask(before)
    assert (tmp_path / "shared" / "cache.db").stat().st_mode & 0o777 == mode
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o777 & ~umask


def test_threads_share_a_database(receipts: Receipts, blob: Path) -> None:
    receipts.record(blob, DIGEST)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: receipts.holds(blob, DIGEST), range(50)))
    assert all(found)


def test_a_database_damaged_while_open_is_rebuilt_on_the_way(receipts: Receipts, database: Path, blob: Path) -> None:
    receipts.record(blob, DIGEST)
    junk(database)
    for _ in range(3):
        receipts.record(blob, DIGEST)
    assert receipts.holds(blob, DIGEST)
