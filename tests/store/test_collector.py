"""Collecting beside writers: whatever comes between two steps of either, no byte of a live model is lost."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, nullcontext, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import clocked
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llstore.store import Digest, Name, PutRequest, Role, sync, ulid
from llstore.store import put as putting
from llstore.store.backends import Backend
from llstore.store.backends.wrapper import Wrapper
from llstore.store.bucket import Bucket
from llstore.store.catalog.catalog import Catalog
from llstore.store.entry import MOST_AHEAD, remove_entry, tag_entry, untag_entry
from llstore.store.errors import Damaged
from llstore.store.gc.collector import Collected, Collector
from llstore.store.gc.mark import SWEEP_SECONDS, swept_until
from llstore.store.journal import OVERLAP
from llstore.store.layout import JOURNAL, blob_key, blocks_key, journal_key, manifest_key
from llstore.store.manifest import canonical
from llstore.store.progress import silent

CONTENTS = (b"one", b"two", b"three")
NAMES = (Name("team/a"), Name("team/b"))


class Killed(BaseException):
    """A process that died."""


class Clocked(clocked.Clocked):
    """A bucket whose clock goes on by itself: a millisecond at every look.

    `wrote` is when each key was first written, `spoilt` is what objects held before they were cut or hidden.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wrote: dict[str, float] = {}
        self.spoilt: dict[str, tuple[bytes, float]] = {}

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        super().write(key, chunks, size=size)
        self.wrote.setdefault(key, self.now)

    def spoil(self, key: str, *, hidden: bool) -> None:
        """What a crash of a file system leaves, or what SeaweedFS's filer shows of a bucket that keeps versions."""
        self.spoilt[key] = self._objects.pop(key)
        self._objects[f"{key}.versions/v1" if hidden else key] = (b"", self.now)

    def mend(self) -> None:
        for key, (data, modified) in self.spoilt.items():
            self._objects.pop(f"{key}.versions/v1", None)
            self._objects[key] = (data, modified)
        self.spoilt.clear()

    def redate(self, modified: float) -> None:
        """What a copy without dates does."""
        self._objects = {key: (data, modified) for key, (data, _) in self._objects.items()}

    def journal(self) -> list[tuple[str, dict[str, Any]]]:
        """What was written there with its keys, in the order in which it counts."""
        keys = [key for key in self.wrote if key.startswith(JOURNAL) and (key in self._objects or key in self.spoilt)]
        return [
            (key, json.loads((self.spoilt.get(key) or self._objects[key])[0])) for key in sorted(keys, key=self._moment)
        ]

    def _moment(self, key: str) -> str:
        name = key.removeprefix(JOURNAL)
        ahead = ulid.lowest(self.wrote[key] + MOST_AHEAD) < name
        return ulid.lowest(self.wrote[key])[: ulid.TIME] + name if ahead else name

    def clock(self) -> float:
        self.now += 0.001
        return self.now


class Between(Wrapper):
    """Does something before the n-th call that reaches the bucket."""

    def __init__(self, backend: Backend, number: int, act: Callable[[], None]) -> None:
        super().__init__(backend)
        self._left, self._act = number, act

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._act()

    def stat(self, key):
        self._count()
        return self._backend.stat(key)

    def read(self, key, *, start=0, length=None):
        self._count()
        return self._backend.read(key, start=start, length=length)

    def write(self, key, chunks, *, size):
        self._count()
        self._backend.write(key, chunks, size=size)

    def list(self, prefix, *, after=""):
        self._count()
        yield from list(self._backend.list(prefix, after=after))

    def clock(self):
        # Not between a look at the clock and the delete that follows it: a sweep's last minute is for that.
        self._count()
        return self._backend.clock()


class Patient(Bucket):
    """A bucket whose users wait in its time, not in ours."""

    clocked: Clocked

    def wait(self, until: float) -> None:
        self.clocked.now = max(self.clocked.now, until + 1)


class Machine:
    """One of those who share a bucket: a catalog of its own, and verbs."""

    def __init__(self, backend: Clocked, folder: Path) -> None:
        self.backend, self.folder = backend, folder
        self.catalog = Catalog(folder / "catalog.db")

    def bucket(self, between: tuple[int, Callable[[], None]] | None = None) -> Patient:
        found = Patient(Between(self.backend, *between) if between else self.backend)
        found.clocked = self.backend
        return found

    def put(self, content: bytes, *, name: Name | None = None, between=None) -> None:
        path = self.folder / content.decode()
        path.write_bytes(content)
        request = PutRequest(path, role=Role.OTHER, name=name)
        bucket = self.bucket(between)
        sync.sync(bucket, self.catalog)
        bucket.initialize()
        with ExitStack() as stack:
            upload = putting.examine(putting.open_sources([path], stack), request, silent)
            result = putting.put(bucket, request, upload, look=lambda: self._look(bucket, upload))
        self.catalog.apply(result.entries)

    def say(self, document: dict[str, object]) -> None:
        bucket = self.bucket()
        sync.sync(bucket, self.catalog)
        self.catalog.apply([bucket.journal.append(document)])

    def collect(self, *, grace: float = 0.0, between=None) -> Collected:
        with suppress(Damaged) if self.backend.spoilt else nullcontext():
            return Collector(self.bucket(between), self.catalog, silent).collect(grace=grace)
        return Collected((), ())

    def _look(self, bucket: Bucket, upload: putting.Upload) -> putting.State:
        sync.sync(bucket, self.catalog)
        now = bucket.journal.clock()
        sweeps = self.catalog.sweeps(since=ulid.lowest(now - SWEEP_SECONDS - OVERLAP))
        return putting.State(self.catalog.model(upload.manifest.model), swept_until(sweeps, upload.digests, now=now))


def told(backend: Clocked) -> tuple[set[str], dict[str, str]]:
    """Which models live and what names point to, by what was written, told in plain data."""
    live: set[str] = set()
    names: dict[str, str] = {}
    for _, document in backend.journal():
        if document["op"] == "put":
            live.add(document["model"])
        elif document["op"] == "remove":
            live.discard(document["model"])
        elif document["op"] == "tag":
            names[document["name"]] = document["model"]
        elif document["op"] == "untag":
            names.pop(document["name"], None)
    return live, names


def lost(backend: Clocked) -> list[str]:
    """What live models lack."""
    found = []
    for model in sorted(told(backend)[0]):
        digest = Digest.parse(model)
        for key in (blob_key(digest), blocks_key(digest), manifest_key(digest)):
            if not any(stat.key == key for stat in backend.list(key)):
                found.append(key)
        with suppress(Exception):
            if Digest.of(b"".join(backend.read(blob_key(digest)))) != digest:
                found.append(f"wrong bytes in {digest}")
    return found


contents = st.sampled_from(CONTENTS)
machines = st.sampled_from([0, 1])
moments = st.integers(1, 30)


class Race(RuleBasedStateMachine):
    """Two machines put, remove, name and collect, each between any two steps of the other, and die at any step."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.backend = Clocked()
        self.ahead = self.redated = False  # entries whose dates alone tell when they were made, and dates that do not
        Race.folder.mkdir(parents=True, exist_ok=True)
        self.stack = ExitStack()
        self.machines = []
        for _ in range(2):
            machine = Machine(self.backend, Path(mkdtemp(dir=Race.folder)))
            self.stack.enter_context(closing(machine.catalog))
            self.machines.append(machine)

    def teardown(self) -> None:
        self.stack.close()

    @rule(who=machines, content=contents, name=st.none() | st.sampled_from(NAMES))
    def put(self, who: int, content: bytes, name: Name | None) -> None:
        self.machines[who].put(content, name=name)
        assert str(Digest.of(content)) in told(self.backend)[0]

    @rule(who=machines, content=contents)
    def remove(self, who: int, content: bytes) -> None:
        if told(self.backend)[0]:
            self.machines[who].say(remove_entry(Digest.of(content)))

    @rule(who=machines, content=contents, name=st.sampled_from(NAMES))
    def tag(self, who: int, content: bytes, name: Name) -> None:
        self.machines[who].say(tag_entry(name, Digest.of(content)))

    @rule(who=machines, name=st.sampled_from(NAMES))
    def untag(self, who: int, name: Name) -> None:
        self.machines[who].say(untag_entry(name))

    @rule(who=machines)
    def collect(self, who: int) -> None:
        self.machines[who].collect()

    @rule()
    def collect_by_who_was_never_here(self) -> None:
        machine = Machine(self.backend, Path(mkdtemp(dir=Race.folder)))
        with closing(machine.catalog):
            machine.collect()

    @rule(who=machines, content=contents, moment=moments)
    def put_with_a_collection_in_the_middle(self, who: int, content: bytes, moment: int) -> None:
        self.machines[who].put(content, between=(moment, lambda: self.machines[1 - who].collect() and None))
        assert str(Digest.of(content)) in told(self.backend)[0]

    @rule(who=machines, content=contents, moment=moments)
    def put_with_a_removal_and_a_collection_in_the_middle(self, who: int, content: bytes, moment: int) -> None:
        def meddle() -> None:
            self.machines[1 - who].say(remove_entry(Digest.of(content)))
            self.machines[1 - who].collect()

        self.machines[who].put(content, between=(moment, meddle))

    @rule(who=machines, content=contents, moment=moments)
    def collection_with_a_put_in_the_middle(self, who: int, content: bytes, moment: int) -> None:
        self.machines[who].collect(between=(moment, lambda: self.machines[1 - who].put(content)))

    @rule(who=machines, content=contents, moment=moments, collecting=st.booleans())
    def die(self, who: int, content: bytes, moment: int, collecting: bool) -> None:
        def kill() -> None:
            raise Killed

        with suppress(Killed):
            if collecting:
                self.machines[who].collect(between=(moment, kill))
            else:
                self.machines[who].put(content, between=(moment, kill))

    @rule(number=st.integers(0, 50), hidden=st.booleans(), days=st.sampled_from([0, 8]))
    def spoil(self, number: int, hidden: bool, days: int) -> None:
        self.backend.now += days * 86_400  # after 7 days no intent holds what the entry held
        # A put looks for sweeps while it goes on: one that is spoilt at that very moment is more than anybody promises.
        keys = [key for key, document in self.backend.journal() if document["op"] != "sweep"]
        key = keys[number % len(keys)] if keys else ""
        if key and key not in self.backend.spoilt:
            self.backend.spoil(key, hidden=hidden)

    @rule()
    def mend(self) -> None:
        self.backend.mend()

    @rule(ago=st.sampled_from([0.0, 3600.0, 20 * 365 * 86_400.0]))
    def copy_without_dates(self, ago: float) -> None:
        if not self.ahead:
            self.redated = True
            self.backend.redate(self.backend.now - ago)

    @rule(content=contents, hours=st.sampled_from([1, 1000]))
    def remove_by_a_clock_that_runs_ahead(self, content: bytes, hours: int) -> None:
        if not self.redated and told(self.backend)[0]:
            self.ahead = True
            data = canonical(remove_entry(Digest.of(content)))
            self.backend.write(journal_key(ulid.mint(self.backend.clock() + hours * 3600)), [data], size=len(data))

    @rule(days=st.sampled_from([0.01, 1.0, 8.0]))
    def time_passes(self, days: float) -> None:
        self.backend.now += days * 86_400

    @invariant()
    def nothing_live_is_lost(self) -> None:
        assert lost(self.backend) == []

    @invariant()
    def the_machines_agree_with_the_journal(self) -> None:
        if self.backend.spoilt or self.redated:
            return
        live, names = told(self.backend)
        for machine in self.machines:
            sync.sync(machine.bucket(), machine.catalog, whole=True)
            assert {str(model.digest) for model in machine.catalog.models()} == live
            assert {str(name): str(machine.catalog.named(name) or "") for name in NAMES} == {
                str(name): names.get(str(name), "") for name in NAMES
            }


def test_no_byte_of_a_live_model_is_lost_whatever_comes_between(tmp_path: Path) -> None:
    Race.folder = tmp_path
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Race,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.fixture
def backend() -> Clocked:
    return Clocked()


@pytest.fixture
def machine(backend: Clocked, tmp_path: Path) -> Iterator[Machine]:
    found = Machine(backend, tmp_path)
    with closing(found.catalog):
        yield found


MOMENTS = range(1, 90)  # more calls than any verb here makes


def pair(folder: Path, stack: ExitStack) -> tuple[Machine, Machine]:
    """Two machines with a model that both know."""
    backend, found = Clocked(), []
    for who in "ab":
        (folder / who).mkdir(parents=True)
        found.append(Machine(backend, folder / who))
        stack.enter_context(closing(found[-1].catalog))
    found[0].put(b"one")
    return found[0], found[1]


def put_during_a_collection(folder: Path, moment: int) -> bool:
    """Whether the collection lasted to that moment."""
    came: list[bool] = []
    with ExitStack() as stack:
        one, other = pair(folder, stack)
        one.say(remove_entry(Digest.of(b"one")))
        one.collect(between=(moment, lambda: came.append(other.put(b"one") is None)))
        assert lost(one.backend) == []
        assert not came or str(Digest.of(b"one")) in told(one.backend)[0]
    return bool(came)


def collection_during_a_put(folder: Path, moment: int, *, removed: bool) -> bool:
    """Whether the put lasted to that moment. The model is `removed` before, or at that very moment."""
    came: list[bool] = []
    with ExitStack() as stack:
        one, other = pair(folder, stack)
        if removed:
            one.say(remove_entry(Digest.of(b"one")))

        def meddle() -> None:
            came.append(True)
            if not removed:
                other.say(remove_entry(Digest.of(b"one")))
            other.collect()

        one.put(b"one", between=(moment, meddle))
        assert lost(one.backend) == []
    return bool(came)


def test_a_put_at_any_moment_of_a_collection_of_its_bytes_loses_nothing(tmp_path: Path) -> None:
    lasted = [moment for moment in MOMENTS if put_during_a_collection(tmp_path / f"{moment}", moment)]
    assert 10 < len(lasted) < len(MOMENTS)


@pytest.mark.parametrize("removed", [False, True])
def test_a_collection_at_any_moment_of_a_put_loses_nothing(tmp_path: Path, removed: bool) -> None:
    lasted = [moment for moment in MOMENTS if collection_during_a_put(tmp_path / f"{moment}", moment, removed=removed)]
    assert 10 < len(lasted) < len(MOMENTS)


def keys(backend: Clocked) -> list[str]:
    return [stat.key for folder in ("blobs/", "blocks/", "manifests/") for stat in backend.list(folder)]


def test_a_removed_model_s_bytes_go_after_the_grace_period(backend: Clocked, machine: Machine) -> None:
    machine.put(b"one")
    machine.put(b"two")
    machine.say(remove_entry(Digest.of(b"one")))
    assert machine.collect(grace=3600).deleted == ()
    backend.now += 3601
    assert len(machine.collect(grace=3600).deleted) == 3
    assert len(keys(backend)) == 3
    assert lost(backend) == []


def test_what_a_dead_put_left_stays_for_7_days_and_then_goes(backend: Clocked, machine: Machine) -> None:
    def kill() -> None:
        raise Killed

    machine.put(b"two")
    for moment in MOMENTS:
        with suppress(Killed):
            machine.put(b"one", between=(moment, kill))
        if len(keys(backend)) > 3:
            break
    assert len(told(backend)[0]) == 1
    held = machine.collect()
    assert (held.deleted, len(held.held)) == ((), len(keys(backend)) - 3)
    backend.now += 7 * 86_400 + 1
    machine.collect()
    assert len(keys(backend)) == 3


def test_a_plan_deletes_nothing_and_says_what_would_go(backend: Clocked, machine: Machine) -> None:
    machine.put(b"one")
    machine.say(remove_entry(Digest.of(b"one")))
    before, entries = keys(backend), len(list(backend.list(JOURNAL)))
    plan = Collector(machine.bucket(), machine.catalog, silent).plan(grace=0)
    assert sorted(candidate.key for candidate in plan.deleted) == sorted(before) == sorted(keys(backend))
    assert len(list(backend.list(JOURNAL))) == entries


def test_a_put_waits_for_a_sweep_that_died_and_uploads_again(backend: Clocked, machine: Machine) -> None:
    machine.put(b"one")
    machine.say(remove_entry(Digest.of(b"one")))

    def kill() -> None:
        raise Killed

    began = backend.now
    with suppress(Killed):
        for number in range(1, 100):
            machine.collect(between=(number, kill))
            if any(json.loads(b"".join(backend.read(stat.key)))["op"] == "sweep" for stat in backend.list(JOURNAL)):
                break
    machine.put(b"one")
    assert lost(backend) == []
    assert backend.now - began < SWEEP_SECONDS + 60


def test_a_finished_sweep_holds_up_nobody(backend: Clocked, machine: Machine) -> None:
    machine.put(b"one")
    machine.say(remove_entry(Digest.of(b"one")))
    machine.collect()
    began = backend.now
    machine.put(b"one")
    assert backend.now - began < 60
    assert lost(backend) == []


@pytest.mark.parametrize("hidden", [False, True])
def test_nothing_goes_while_an_entry_cannot_be_read(
    backend: Clocked, machine: Machine, tmp_path: Path, hidden: bool
) -> None:
    machine.put(b"one")
    (key,) = [key for key, document in backend.journal() if document["op"] == "put"]
    backend.spoil(key, hidden=hidden)
    backend.now += 30 * 86_400
    (tmp_path / "fresh").mkdir()
    fresh = Machine(backend, tmp_path / "fresh")
    with closing(fresh.catalog):
        for act in (Collector.plan, Collector.collect):
            with pytest.raises(Damaged, match=rf"nothing was deleted: .*{key}"):
                act(Collector(fresh.bucket(), fresh.catalog, silent), grace=0.0)
        assert lost(backend) == []
        backend.mend()
        fresh.collect()
    assert lost(backend) == []


def test_what_an_entry_keeps_stays(backend: Clocked, machine: Machine) -> None:
    machine.put(b"one")
    machine.say(remove_entry(Digest.of(b"one")) | {"keeps": [str(Digest.of(b"one"))]})
    backend.now += 30 * 86_400
    assert machine.collect().deleted == ()


@pytest.mark.parametrize("document", [{"op": "later"}, {"op": "untag", "name": "a/b", "parts": []}])
def test_what_this_llstore_does_not_know_stops_a_collection(
    backend: Clocked, machine: Machine, document: dict[str, object]
) -> None:
    machine.say(document)
    for _ in range(2):
        with pytest.raises(Damaged, match="this llstore"):
            machine.collect()
