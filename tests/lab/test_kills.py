"""Kills at random moments of put, get, evict and fsck, all at once: nothing is lost, nothing wrong, nothing leaks."""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Barrier
from urllib.parse import urlsplit

import pytest
from invariants import Kept, Place, check, check_end, sha256
from seaweed import SeaweedFS

from llstore.store import Digest, PutRequest, Role, Store
from llstore.store.cache import Cache
from llstore.store.catalog.catalog import Catalog
from llstore.store.fsck.finding import Depth
from llstore.store.layout import blob_key
from llstore.store.model import Model

# `make soak` kills 200 or 1000.
KILLS = int(os.environ.get("LLSTORE_KILLS", "5"))
SEED = int(os.environ.get("LLSTORE_SEED") or secrets.randbits(32))
SIZES = (10_000_000, 14_000_001, 8 * 1024 * 1024, 22_222_222, 27_000_000, 40_000_000)
PINNED, LEASED, KNOWN = 0, 1, 4  # which of the files; how many are put before the first kill
PATIENCE = 120.0
CHECK_EVERY = 25  # rounds
# What may lie in a cache after a prune, beside blobs and what describes them.
NOT_LEAKED = {"blobs", "blocks", "manifests", "pins", "cache.db", "cache.db-journal", ".room.lock"}


@dataclass
class Lab:
    """A bucket, a machine shared by all processes, and files to put; two of them hold what others hold."""

    place: Place
    files: list[Path]
    budget: int
    random: Random = field(default_factory=lambda: Random(SEED))
    stored: set[str] = field(default_factory=set)
    ends: Counter[str] = field(default_factory=Counter)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        store = ("--store", self.place.url or "")
        return subprocess.Popen(
            [sys.executable, "-m", "llstore.cli", *map(str, arguments), *store],
            env={**os.environ, "LLSTORE_HOME": str(self.place.home), "LLSTORE_CACHE_MAX_BYTES": str(self.budget)},
            cwd=self.place.home.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path) -> str:
        """Run a command that must succeed; returns what it printed."""
        with self.start(*arguments) as process:
            out, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, f"{arguments} ended with {process.returncode}: {said}{out}"
        return out

    def put(self, file: Path, *more: str) -> tuple[str | Path, ...]:
        return ("put", file, "--role", "other", "--name", f"t/{file.name}", *more)

    @property
    def kept(self) -> Kept:
        return Kept(frozenset(self.stored), frozenset(map(sha256, (self.files[PINNED], self.files[LEASED]))))


@pytest.fixture
def lab(bucket: str, tmp_path: Path) -> Iterator[Lab]:
    say(f"LLSTORE_SEED={SEED} LLSTORE_KILLS={KILLS}")
    random, files = Random(SEED), []
    for number, size in enumerate((*SIZES, *SIZES[-2:])):
        files.append(tmp_path / f"file{number}")
        files[-1].write_bytes(random.randbytes(size) if number < len(SIZES) else files[number - 2].read_bytes())
    rest = sum(SIZES) - SIZES[PINNED] - SIZES[LEASED]
    lab = Lab(Place(tmp_path / "home", bucket), files, SIZES[PINNED] + SIZES[LEASED] + rest // 2)
    with Store(lab.place.settings) as store:
        for file in files[:KNOWN]:
            lab.stored.add(store.put(PutRequest(file, role=Role.OTHER)).manifest.model.hex)
        for file in (files[PINNED], files[LEASED]):
            store.get(Digest(sha256(file)))
    lab.run("cache", "pin", sha256(files[PINNED]))
    with leased(lab, files[LEASED]):
        yield lab


@contextmanager
def leased(lab: Lab, file: Path) -> Iterator[None]:
    root = lab.place.home / "cache"
    with Cache(root, receipts=root / "cache.db") as cache, cache.lease(Digest(sha256(file))):
        yield


def test_after_kills_at_random_moments_all_is_sound_and_nothing_leaks(lab: Lab, seaweed: SeaweedFS) -> None:
    kills = rounds = 0
    while kills < KILLS:
        kills += killed_in_a_round(lab)
        rounds += 1
        if rounds % CHECK_EVERY == 0:
            check(lab.place, lab.kept)
    say(f"{kills} kills in {rounds} rounds; unfinished uploads: {unfinished(lab, seaweed)}")
    say(*(f"{count:5} {end}" for end, count in sorted(lab.ends.items())))
    check(lab.place, lab.kept)
    for digest in sorted(lab.stored):
        path = Path(lab.run("get", digest).strip())
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    lab.run("fsck", "--full", "--bucket")
    check_that_nothing_leaked(lab)
    for file in lab.files:
        lab.run(*lab.put(file))
    assert json.loads(lab.run("list", "--json"))["models"]
    check(lab.place, Kept(frozenset(map(sha256, lab.files)), lab.kept.cached))


@pytest.mark.parametrize("damaged", [False, True])
def test_many_that_open_a_catalog_for_the_first_time_all_can(tmp_path: Path, damaged: bool) -> None:
    for number in range(10):
        path, together = tmp_path / f"{number}.db", Barrier(8)
        if damaged:
            path.write_bytes(b"no database" * 1000)

        def first(path: Path = path, together: Barrier = together) -> list[Model]:
            together.wait()
            catalog = Catalog(path)
            catalog.apply([])
            found = catalog.models()
            catalog.close()
            return found

        with ThreadPoolExecutor(8) as threads:
            assert [future.result() for future in [threads.submit(first) for _ in range(8)]] == [[]] * 8


@pytest.mark.parametrize("depth", [Depth(full=True), Depth(sample=1.0)])
def test_what_is_evicted_while_fsck_is_at_work_is_no_finding(tmp_path: Path, bucket: str, depth: Depth) -> None:
    place = Place(tmp_path / "home", bucket)
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"two")
    with Store(place.settings) as store:
        for name in ("one", "two"):
            store.get(store.put(PutRequest(tmp_path / name, role=Role.OTHER)).manifest.model)

        def evicting(_word: str, _done: int, _total: int) -> None:
            store.cache.evict(store.cache.entries())

        report = store.fsck(depth, progress=evicting)
    assert (report.files, report.findings) == (2, ())


def say(*lines: str) -> None:
    """What pytest shows of a test that failed, or with -s."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def killed_in_a_round(lab: Lab) -> int:
    """Start five commands, kill one or all, and see the others end well; returns how many were alive when killed."""
    commands = chosen(lab)
    processes = [lab.start(*command) for command in commands]
    time.sleep(lab.random.uniform(0.05, 2.5))
    living = [process for process in processes if process.poll() is None]
    victims = living if lab.random.random() < 0.4 else lab.random.sample(living, min(1, len(living)))
    for process in victims:
        process.send_signal(signal.SIGKILL)
    for command, process in zip(commands, processes, strict=True):
        _, said = process.communicate(timeout=PATIENCE)
        note_end(lab, command, process.returncode, said)
    return sum(process.returncode == -signal.SIGKILL for process in processes)


def chosen(lab: Lab) -> list[tuple[str | Path, ...]]:
    file, one, two, other = lab.random.choices(lab.files, k=4)
    fourth = lab.put(other, "--force") if lab.random.random() < 0.3 else ("cache", "prune")
    forced = ("--force",) if lab.random.random() < 0.5 else ()
    gets = [("get", sha256(wanted)) for wanted in (one, two)]
    return [lab.put(file, *forced), *gets, fourth, ("fsck", "--full", "--repair")]


def note_end(lab: Lab, command: tuple[str | Path, ...], code: int, said: str) -> None:
    word = str(command[0])
    lab.ends[f"{word} {code} {said.strip() if code > 0 else ''}"] += 1
    if code != -signal.SIGKILL:
        check_end(code, said)
    if word == "put" and code == 0:
        lab.stored.add(sha256(Path(command[1])))


def check_that_nothing_leaked(lab: Lab) -> None:
    root = lab.place.home / "cache"
    lab.run("cache", "prune", "--all")
    found = [path for path in root.rglob("*") if path.is_file()]
    locks = set((root / "partial").glob("*.lock"))  # empty; the next get of the blob removes its own
    leaked = [path for path in found if path.relative_to(root).parts[0] not in NOT_LEAKED and path not in locks]
    assert not leaked
    blobs = sorted(path for path in found if path.is_relative_to(root / "blobs"))
    assert blobs == sorted(root / blob_key(Digest(kept)) for kept in lab.kept.cached)
    used = json.loads(lab.run("cache", "df", "--json"))["used"]
    assert used == sum(path.stat().st_size for path in blobs)


def unfinished(lab: Lab, seaweed: SeaweedFS) -> list[str]:
    """The keys of uploads that were begun and not ended, of objects that exist.

    Of two puts of the same bytes that begin at once, one that is killed leaves its upload: nobody may abort it, for its
    writer could live, and aborting it later has destroyed objects. A lifecycle rule of the bucket removes it.
    """
    client, name = seaweed.client(), urlsplit(lab.place.url or "").netloc
    uploads = client.list_multipart_uploads(Bucket=name).get("Uploads", [])
    keys = {found["Key"] for found in client.list_objects_v2(Bucket=name).get("Contents", [])}
    return [upload["Key"] for upload in uploads if upload["Key"] in keys]
