"""The cache: within its budget, least recently used first, and what was promised stays."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from llstore.store import Digest
from llstore.store.cache import Cache
from llstore.store.cache.eviction import CachedBlob
from llstore.store.cache.over_budget import no_room
from llstore.store.cache.prune import prune
from llstore.store.cache.room import room
from llstore.store.cache.usage import Usage
from llstore.store.errors import OverBudget
from llstore.store.fingerprint import fingerprint
from llstore.store.layout import blocks_key
from llstore.store.progress import silent
from llstore.store.sizes import human_size, parse_size
from llstore.store.transfer.partial import create, owner, partials

SIZE = 100_000
BUDGET = 3 * SIZE + SIZE // 2  # three blobs and a bit
GB = 10**9
WEEK = 7 * 24 * 60 * 60


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(root: Path) -> Iterator[Cache]:
    with opened(root) as found:
        yield found


def opened(root: Path, *, max_bytes: int | None = BUDGET, is_store: bool = False) -> Cache:
    return Cache(root, receipts=root / "cache.db", max_bytes=max_bytes, is_store=is_store)


def data(name: str) -> bytes:
    return name.encode().ljust(SIZE, b".")


def digest(name: str) -> Digest:
    return Digest.of(data(name))


def fill(cache: Cache, names: str) -> None:
    """Cache a blob for each letter, the first used longest ago."""
    for number, name in enumerate(names):
        with cache.receive(SIZE) as part:
            part.write(data(name))
            cache.admit(part, fingerprint([data(name)]))
        used(cache, name, seconds_ago=1000 - number)


def used(cache: Cache, name: str, *, seconds_ago: float) -> None:
    cache._receipts.touch(cache.path(digest(name)), now=time.time() - seconds_ago)


def names(cache: Cache) -> str:
    """The blobs that are here, by letter."""
    return "".join(sorted(name for name in "abcdefgh" if cache.has(digest(name))))


def test_a_blob_too_many_pushes_out_the_least_recently_used(cache: Cache) -> None:
    fill(cache, "abc")
    evicted = cache.make_room(SIZE)
    assert [blob.digest for blob in evicted] == [digest("a")]
    assert names(cache) == "bc"


def test_room_that_is_there_costs_nobody_their_place(cache: Cache) -> None:
    fill(cache, "abc")
    assert cache.make_room(SIZE // 2) == ()
    assert names(cache) == "abc"


def test_a_hit_renews_a_blob(cache: Cache) -> None:
    fill(cache, "abc")
    assert cache.find(digest("a"), silent)
    cache.make_room(2 * SIZE)
    assert names(cache) == "a"


def test_an_evicted_blob_takes_its_block_list_and_its_receipt_along(cache: Cache, root: Path) -> None:
    fill(cache, "abc")
    cache.make_room(SIZE)
    assert not (root / blocks_key(digest("a"))).exists()
    assert str(cache.path(digest("a"))) not in cache._receipts.all()
    assert (root / blocks_key(digest("b"))).exists()


def test_whoever_has_an_evicted_blob_open_keeps_its_bytes(cache: Cache) -> None:
    fill(cache, "abc")
    with cache.path(digest("a")).open("rb") as file:
        cache.make_room(SIZE)
        assert file.read() == data("a")


def test_what_is_pinned_leased_or_to_be_kept_stays(cache: Cache) -> None:
    fill(cache, "abc")
    cache.pin(digest("a"))
    with cache.lease(digest("b")):
        cache.make_room(SIZE)
        assert names(cache) == "ab"
    fill(cache, "c")
    cache.make_room(SIZE, keep=[digest("b")])
    assert names(cache) == "ab"
    cache.unpin(digest("a"))
    cache.make_room(3 * SIZE)
    assert names(cache) == ""


def test_a_refusal_evicts_nothing_and_names_what_holds_the_space(cache: Cache, root: Path) -> None:
    fill(cache, "abc")
    cache.pin(digest("a"))
    (root / "quarantine").mkdir()
    (root / "quarantine" / "damaged").write_bytes(bytes(10_000))
    with (
        cache.lease(digest("b")),
        create(root / "partial", digest("d"), size=SIZE // 4),
        pytest.raises(OverBudget) as refusal,
    ):
        cache.make_room(2 * SIZE)
    assert names(cache) == "abc"
    words = ("no room for 200.0 kB", "budget is 350.0 kB", "pinned 100.0 kB", "in use 100.0 kB", "quarantine 10.0 kB")
    assert all(word in str(refusal.value) for word in (*words, "being written"))
    hints = (
        "cache.max_bytes",
        "llstore cache unpin",
        "llstore cache partials --remove",
        "llstore cache prune --quarantine",
    )
    assert all(hint in refusal.value.hint for hint in hints)


def test_a_blob_bigger_than_the_budget_is_refused_as_such(cache: Cache) -> None:
    fill(cache, "a")
    with pytest.raises(OverBudget, match=r"no room for 350\.0 kB .* more than its whole budget of 350\.0 kB"):
        cache.make_room(BUDGET + 1)
    assert names(cache) == "a"


def test_part_files_count_with_the_whole_size_they_reserve(cache: Cache, root: Path) -> None:
    fill(cache, "abc")
    with create(root / "partial", digest("d"), size=SIZE // 2 - 10_000):
        assert cache.usage().partial >= SIZE // 2 - 10_000
        cache.make_room(20_000)
    assert names(cache) == "bc"


def test_a_blob_counts_once_while_it_moves_into_its_place(cache: Cache, root: Path) -> None:
    fill(cache, "ab")
    before = cache.usage().used
    # Listed as a part file first, then as a blob: as a reader sees a rename between the two listings.
    (root / "partial" / "moving.part").hardlink_to(cache.path(digest("a")))
    assert cache.usage().used - before < 4096


def test_without_a_budget_the_cache_takes_its_share_of_the_disk(root: Path) -> None:
    with opened(root, max_bytes=None) as cache:
        fill(cache, "abc")
        usage = cache.usage()
        assert usage.budget == int(0.8 * (usage.free + usage.used))
        assert cache.make_room(SIZE) == ()
        with pytest.raises(OverBudget):
            cache.make_room(usage.free + usage.used)


def test_a_disk_smaller_than_the_budget_is_the_budget() -> None:
    usage = Usage(blobs=8 * GB, partial=0, quarantine=0, free=GB, budget=20 * GB)
    assert usage.room == GB
    blobs = [CachedBlob(digest("a"), 8 * GB, 0.0, pinned=True)]
    refusal = no_room(2 * GB, usage, blobs=blobs)
    assert str(refusal) == "no room for 2.0 GB in the cache: its disk has 1.0 GB free; pinned 8.0 GB"
    assert "cache.max_bytes" not in refusal.hint


def test_a_budget_that_was_lowered_is_reached_again(root: Path) -> None:
    with opened(root, max_bytes=8 * SIZE) as cache:
        fill(cache, "abcdef")
    with opened(root) as cache:
        cache.make_room(SIZE)
        assert names(cache) == "ef"


def test_the_embedded_store_has_no_budget_and_loses_nothing(root: Path) -> None:
    with opened(root, is_store=True) as cache:
        fill(cache, "abcdef")
        assert cache.make_room(10**18) == ()
        with cache.lease(digest("a")):
            assert names(cache) == "abcdef"


def test_a_warm_hit_hashes_nothing_and_writes_nothing(cache: Cache, root: Path) -> None:
    fill(cache, "a")
    used(cache, "a", seconds_ago=30)
    before = (root / "cache.db").read_bytes()

    def hashed(step: str, done: int, total: int) -> None:
        raise AssertionError(step)

    for _ in range(3):
        assert cache.find(digest("a"), hashed)
    assert (root / "cache.db").read_bytes() == before
    used(cache, "a", seconds_ago=90)
    before = time.time()
    assert cache.find(digest("a"), hashed)
    assert cache.entries()[0].used_at >= before


def test_hits_evictions_and_bytes_are_counted_across_processes(cache: Cache, root: Path) -> None:
    fill(cache, "abc")
    for name in "aab":
        cache.find(digest(name), silent)
    cache.find(digest("h"), silent)
    cache.count(misses=1, bytes_fetched=5)
    cache.close()
    with opened(root) as later:
        later.make_room(SIZE)
        counted = later.counters()
    assert (counted.hits, counted.misses, counted.hit_rate) == (3, 1, 0.75)
    assert (counted.bytes_saved, counted.bytes_fetched) == (3 * SIZE, 5)
    assert (counted.evictions, counted.bytes_evicted) == (1, SIZE)


def test_a_rebuilt_database_forgets_no_pin_and_goes_by_the_files_times(cache: Cache, root: Path) -> None:
    fill(cache, "abc")
    cache.pin(digest("a"))
    cache.close()
    (root / "cache.db").write_bytes(b"junk" * 5000)
    for name, when in (("a", 1.0), ("b", 2e9 - 5), ("c", 5.0)):
        os.utime(cache.path(digest(name)), (when, when))
    with opened(root) as later:
        assert {blob.verified for blob in later.entries()} == {False}
        later.make_room(SIZE)
        assert names(later) == "ab"


def test_an_entry_tells_what_is_known_of_a_blob(cache: Cache) -> None:
    fill(cache, "ab")
    cache.pin(digest("a"))
    cache.path(digest("b")).chmod(0o644)
    with cache.lease(digest("b")):
        found = {blob.digest: blob for blob in cache.entries()}
    assert set(found) == {digest("a"), digest("b")}
    a, b = found[digest("a")], found[digest("b")]
    assert (a.size, a.pinned, a.leased, a.verified) == (SIZE, True, False, True)
    assert (b.size, b.pinned, b.leased, b.verified) == (SIZE, False, True, False)


def test_an_empty_machine_has_an_empty_cache(tmp_path: Path) -> None:
    with opened(tmp_path / "absent" / "cache") as cache:
        assert cache.entries() == ()
        assert cache.usage().used == 0
        assert cache.pins() == frozenset()


def test_a_good_blob_that_replaced_a_damaged_one_meanwhile_is_not_set_aside(cache: Cache, root: Path) -> None:
    fill(cache, "a")
    path = cache.path(digest("a"))
    path.unlink()
    path.write_bytes(data("z"))

    def heal(step: str, done: int, total: int) -> None:
        path.unlink()
        path.write_bytes(data("a"))

    assert cache.find(digest("a"), heal) is None
    assert path.read_bytes() == data("a")
    assert not list(root.glob("quarantine/*"))


def die_while_evicting(root: Path, removals: int) -> None:
    """Evict, and die as the `removals`-th file is about to be removed."""
    left = [removals]

    def watch(event: str, arguments: object) -> None:
        if event == "os.remove" and str(root) in str(arguments):
            left[0] -= 1
            if not left[0]:
                os._exit(9)

    with opened(root) as cache:
        sys.addaudithook(watch)
        cache.make_room(SIZE)
    os._exit(0)


@pytest.mark.parametrize(("removals", "code", "left"), [(1, 9, "abc"), (2, 9, "bc"), (3, 0, "bc")])
def test_a_crash_while_evicting_leaves_nothing_wrong(root: Path, removals: int, code: int, left: str) -> None:
    with opened(root) as cache:
        fill(cache, "abc")
    process = multiprocessing.get_context("spawn").Process(target=die_while_evicting, args=(root, removals))
    process.start()
    process.join(60)
    assert process.exitcode == code
    with opened(root) as cache:
        assert names(cache) == left
        assert all(cache.find(blob.digest, silent) for blob in cache.entries())
        cache.make_room(SIZE)
        assert len(names(cache)) == 2
        fill(cache, "a")
        assert cache.find(digest("a"), silent)


def test_what_a_crashed_eviction_left_is_pruned(cache: Cache, root: Path) -> None:
    fill(cache, "ab")
    cache.path(digest("a")).unlink()
    prune(cache)
    assert (root / blocks_key(digest("a"))).exists(), "a young list may be of a blob to come"
    assert list(cache._receipts.all()) == [str(cache.path(digest("b")))]
    os.utime(root / blocks_key(digest("a")), (1.0, 1.0))
    prune(cache)
    assert not (root / blocks_key(digest("a"))).exists()
    assert (root / blocks_key(digest("b"))).exists()


def test_pruning_goes_down_to_the_budget(root: Path) -> None:
    with opened(root, max_bytes=8 * SIZE) as cache:
        fill(cache, "abcde")
    with opened(root) as cache:
        tried = prune(cache, dry_run=True)
        assert names(cache) == "abcde"
        pruned = prune(cache)
        assert names(cache) == "cde"
    assert tried == pruned
    assert (pruned.freed, pruned.over) == (2 * SIZE, 0)


def test_pruning_says_when_the_budget_cannot_be_reached(root: Path) -> None:
    with opened(root, max_bytes=8 * SIZE) as cache:
        fill(cache, "abcde")
        for name in "abcd":
            cache.pin(digest(name))
    with opened(root) as cache:
        assert prune(cache).over == 4 * SIZE - BUDGET
        assert names(cache) == "abcd"


def test_pruning_takes_what_was_not_used_for_long(cache: Cache) -> None:
    fill(cache, "abc")
    used(cache, "c", seconds_ago=0)
    cache.pin(digest("a"))
    prune(cache, unused_since=time.time() - 500)
    assert names(cache) == "ac"


def test_pruning_everything_spares_what_is_pinned_or_in_use(cache: Cache) -> None:
    fill(cache, "abc")
    cache.pin(digest("a"))
    with cache.lease(digest("b")):
        prune(cache, everything=True)
    assert names(cache) == "ab"


def leave_part(root: Path, name: str, *, days: float) -> Path:
    """A part file that a dead process of this host left."""
    host = owner().split("-")[0]
    path = root / "partial" / f"{digest(name).hex}.{host}-0-0.abcd1234.part"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(SIZE))
    when = time.time() - days * 24 * 60 * 60
    os.utime(path, (when, when))
    return path


def test_pruning_removes_what_dead_writers_left_a_week_ago(cache: Cache, root: Path) -> None:
    old, young = leave_part(root, "a", days=8), leave_part(root, "b", days=6)
    with create(root / "partial", digest("c"), size=SIZE) as part:
        os.utime(part.path, (1.0, 1.0))
        assert [partial.path for partial in prune(cache).partials] == [old]
        assert not old.exists()
        assert young.exists()
        prune(cache, everything=True)
        assert [partial.path for partial in partials(root / "partial")] == [part.path]


def take_room(root: Path, number: int, rounds: int) -> None:
    """Fetch `rounds` blobs, and fail when the budget is passed."""
    for turn in range(rounds):
        name = f"{number}-{turn}"
        with opened(root) as cache:
            with cache.room() as held:
                try:
                    cache.make_room(SIZE)
                except OverBudget:
                    continue
                part = create(root / "partial", digest(name), size=SIZE)
                if held and cache.usage().used > BUDGET + 4096 * 8:
                    os._exit(7)
            with part:
                part.write(data(name))
                cache.admit(part, fingerprint([data(name)]))
            with suppress(FileNotFoundError):
                if cache.path(digest(name)).read_bytes() != data(name):
                    os._exit(8)
    os._exit(0)


def no_lock(root: Path) -> None:
    (root / ".room.lock").mkdir(parents=True)


@pytest.mark.parametrize("prepare", [lambda root: None, no_lock], ids=["locks work", "locks fail"])
def test_eight_processes_share_the_budget(root: Path, prepare: Callable[[Path], None]) -> None:
    prepare(root)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=take_room, args=(root, number, 6)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    with opened(root) as cache:
        prune(cache)
        assert cache.usage().used <= BUDGET
        assert all(blob.verified for blob in cache.entries())
        assert cache.find(cache.entries()[0].digest, silent)


def test_a_lock_that_is_never_let_go_is_gone_without(tmp_path: Path) -> None:
    with room(tmp_path / "lock") as first:
        assert first
        with room(tmp_path / "lock", patience=0.1) as second:
            assert not second
    with room(tmp_path / "lock") as third:
        assert third


def test_a_failure_while_holding_the_lock_is_not_swallowed(tmp_path: Path) -> None:
    for path in (tmp_path / "lock", tmp_path):
        with pytest.raises(OSError, match="ours"), room(path):
            raise OSError("ours")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50000000", 50_000_000),
        ("0", 0),
        ("12B", 12),
        ("50GB", 50 * GB),
        ("50 gb", 50 * GB),
        ("1.5TB", 1500 * GB),
        ("50GiB", 50 << 30),
        ("3KiB", 3072),
        ("9007199254740993kB", 9_007_199_254_740_993_000),
    ],
)
def test_sizes_are_read_as_they_are_written(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "5 apples", "1e9", "5iB", "50G", "1,5GB", "٣GB", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


def test_sizes_are_written_in_powers_of_1000() -> None:
    assert [human_size(size) for size in (0, 999, 1500, 12 * GB)] == ["0 B", "999 B", "1.5 kB", "12.0 GB"]
