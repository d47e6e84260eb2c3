"""A crash or a refusal at every N-th change to files, in put, get and evict, leaves the five invariants true."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from random import Random

import pytest
import shim
from forked import forks
from invariants import Kept, Place, check, check_converged, check_end, sha256

from llstore.store import Digest, PutRequest, Role, Store
from llstore.store.blocks import BLOCK_SIZE
from llstore.store.cache import Cache
from llstore.store.progress import silent

pytestmark = pytest.mark.skipif(bool(shim.unavailable()), reason=shim.unavailable() or "there is one")

# `make soak` kills at every call, and tries the other actions at every so many; `make test` takes a slice of each.
SOAK = os.environ.get("LLSTORE_SOAK") == "1"
ACTIONS = ("kill", "kill-after", "fail", "enospc")
STRIDES = {"kill": 1, "kill-after": 10, "fail": 5, "enospc": 10}
SLICE = 60
WORKERS = os.cpu_count() or 2


@dataclass(frozen=True)
class Files:
    """What is put: `three` is two blocks and a bit, the others are small."""

    three: Path
    other: Path
    pinned: Path
    leased: Path


@dataclass(frozen=True)
class Scene:
    """A command, and the state it starts from: `start` is copied for each crash."""

    name: str
    start: Path
    arguments: tuple[str, ...]
    embedded: bool = False
    budget: int | None = None
    kept: Kept = field(default_factory=Kept)
    cached: tuple[str, ...] = ()  # in this order of use; the first is leased

    @contextmanager
    def machine(self, folder: Path) -> Iterator[Place]:
        """A copy of the start, with what a copy loses: receipts, and the lease of a living process."""
        shutil.copytree(self.start, folder, copy_function=_link_or_copy)
        place = Place(folder / "home", None if self.embedded else (folder / "store").as_uri())
        with ExitStack() as stack:
            if self.cached:
                root = place.home / "cache"
                cache = stack.enter_context(Cache(root, receipts=root / "cache.db"))
                for digest in map(Digest, self.cached):
                    assert cache.find(digest, silent)
                stack.enter_context(cache.lease(Digest(self.cached[0])))
            yield place
        shutil.rmtree(folder)

    def command(self, place: Place) -> list[str]:
        store = ("--store", place.url) if place.url else ()
        return [sys.executable, "-m", "llstore.cli", *self.arguments, *store]

    def environment(self, place: Place) -> dict[str, str]:
        budget = {"LLSTORE_CACHE_MAX_BYTES": str(self.budget)} if self.budget else {}
        return {**os.environ, "LLSTORE_HOME": str(place.home), **budget}


@dataclass(frozen=True)
class Point:
    """Where a scene is cut: the number of the call, what happens there, and the call as it was when counted."""

    scene: Scene
    action: str
    call: shim.Call

    def __str__(self) -> str:
        return f"{self.scene.name}, {self.action} at {self.call.number}: {self.call.operation} {self.call.path.name}"


def _link_or_copy(source: str, target: str) -> None:
    # What is read-only is never written again, only replaced; databases are written in place.
    if Path(source).stat().st_mode & 0o200:
        shutil.copyfile(source, target)
    else:
        Path(target).hardlink_to(source)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder, random = tmp_path_factory.mktemp("files"), Random(3)
    sizes = {"three": 2 * BLOCK_SIZE + 12_345, "other": 2_000_000, "pinned": 70_000, "leased": 50_000}
    for name, size in sizes.items():
        (folder / name).write_bytes(random.randbytes(size))
    return Files(*(folder / name for name in sizes))


def stored(folder: Path, *paths: Path) -> Kept:
    """Make a folder store of these files, by another machine."""
    (folder / "store").mkdir(parents=True)
    (folder / "home").mkdir()
    with Store(Place(folder.with_name(f"{folder.name}-other"), (folder / "store").as_uri()).settings) as store:
        for path in paths:
            store.put(PutRequest(path, role=Role.OTHER))
    return Kept(models=frozenset(map(sha256, paths)))


def put_scene(folder: Path, files: Files) -> Scene:
    kept = stored(folder, files.pinned)
    return Scene("put", folder, ("put", str(files.three), "--role", "other", "--name", "t/three"), kept=kept)


def embedded_scene(folder: Path, files: Files) -> Scene:
    (folder / "home").mkdir(parents=True)
    arguments = ("put", str(files.three), "--role", "other", "--name", "t/three", "--label", "a=b")
    return Scene("embedded", folder, arguments, embedded=True)


def get_scene(folder: Path, files: Files) -> Scene:
    kept = stored(folder, files.three, files.pinned)
    return Scene("get", folder, ("get", sha256(files.three)), kept=kept)


def evict_scene(folder: Path, files: Files) -> Scene:
    """The least recently used blob is leased, the next pinned: the third must go, and the budget needs it to."""
    cached = (files.leased, files.pinned, files.three)
    kept = stored(folder, files.other, *cached)
    digests = tuple(map(sha256, cached))
    with Store(Place(folder / "home", (folder / "store").as_uri()).settings) as store:
        for digest in map(Digest, digests):
            store.get(digest)
        store.cache.pin(Digest(digests[1]))
    for database in (folder / "home/cache").glob("cache.db*"):
        database.unlink()
    return Scene(
        "evict",
        folder,
        ("get", sha256(files.other)),
        budget=sum(path.stat().st_size for path in cached) + 1_000_000,
        kept=replace(kept, cached=frozenset(digests[:2])),
        cached=digests,
    )


@pytest.fixture(
    scope="module", params=[put_scene, embedded_scene, get_scene, evict_scene], ids=lambda make: make.__name__
)
def counted(
    request: pytest.FixtureRequest, files: Files, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Scene, list[shim.Call]]:
    """A scene, and every call of its command when all goes well."""
    make: Callable[[Path, Files], Scene] = request.param
    folder = tmp_path_factory.mktemp("scene")
    scene = make(folder / "start", files)
    with scene.machine(folder / "counted") as place:
        calls = shim.count(scene.command(place), folder=folder, root=place.home.parent, env=scene.environment(place))
        check(place, scene.kept)
    return scene, calls


def chosen(calls: Sequence[shim.Call], action: str) -> Sequence[shim.Call]:
    """Every call or every so many; in a slice, a run of the same calls on the same file counts as one."""
    if SOAK:
        return calls[:: STRIDES[action]]
    firsts = [next(run) for _, run in groupby(calls, key=lambda call: (call.operation, call.path.suffix, call.path))]
    return firsts[ACTIONS.index(action) * SLICE // len(ACTIONS) :: SLICE]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_crash_at_any_call_leaves_the_invariants_true(
    counted: tuple[Scene, list[shim.Call]], action: str, tmp_path: Path
) -> None:
    scene, calls = counted
    points = [Point(scene, action, call) for call in chosen(calls, action)]
    with ThreadPoolExecutor(WORKERS) as threads:
        outcomes = list(threads.map(lambda point: outcome(point, tmp_path), points))
    broken = [f"{point}: {said}" for point, (_, said) in zip(points, outcomes, strict=True) if said]
    assert not broken, "\n".join([f"{len(broken)} of {len(points)}", *broken])
    if action.startswith("kill"):
        # A call more or less, and the last may not come; but if none did, nothing was tested.
        assert sum(code == -signal.SIGKILL for code, _ in outcomes) >= 0.9 * len(points)


def test_what_a_killed_get_reserved_gives_way_to_the_next(files: Files, tmp_path: Path) -> None:
    stored(tmp_path / "start", files.three, files.other)
    scene = Scene("reserve", tmp_path / "start", ("get", sha256(files.three)), budget=2 * BLOCK_SIZE + 1_000_000)
    with scene.machine(tmp_path / "machine") as place:
        fault = shim.environment(tmp_path, root=place.home.parent, at=1, action="kill-after", ops=("allocate",))
        assert _run(scene, place, **fault).returncode == -signal.SIGKILL
        assert [part.stat().st_size for part in parts(place)] == [files.three.stat().st_size]
        other = _run(replace(scene, arguments=("get", sha256(files.other))), place)
        assert (other.returncode, other.stderr) == (0, "")
        assert not parts(place)


@pytest.mark.parametrize("operation", ["write", "rename"])
def test_a_prune_of_all_removes_every_part_file_of_the_dead(files: Files, tmp_path: Path, operation: str) -> None:
    stored(tmp_path / "start", files.three)
    scene = Scene("leak", tmp_path / "start", ("get", sha256(files.three)))
    with scene.machine(tmp_path / "machine") as place:
        fault = shim.environment(tmp_path, root=place.home.parent, at=1, action="kill", ops=(operation,))
        assert _run(scene, place, **fault).returncode == -signal.SIGKILL
        assert len(parts(place)) == {"write": 1, "rename": 2}[operation]
        pruned = _run(replace(scene, arguments=("cache", "prune", "--all")), place)
        assert pruned.returncode == 0
        assert not parts(place)


def test_a_part_file_that_was_whole_when_its_writer_died_becomes_the_whole_blob(files: Files, tmp_path: Path) -> None:
    kept = stored(tmp_path / "start", files.three)
    scene = Scene("whole", tmp_path / "start", ("get", sha256(files.three)))
    with scene.machine(tmp_path / "machine") as place:
        fault = shim.environment(tmp_path, root=place.home.parent, at=1, action="kill", ops=("rename",))
        assert _run(scene, place, **fault).returncode == -signal.SIGKILL
        check_converged(place, _run(scene, place), kept)


def parts(place: Place) -> list[Path]:
    return list((place.home / "cache/partial").glob("*.part"))


def outcome(point: Point, folder: Path) -> tuple[int, str]:
    """How the command ended at its fault, and what was wrong with that or afterwards, if anything."""
    scene = point.scene
    with scene.machine(folder / f"{point.call.number}") as place:
        fault = shim.environment(folder, root=place.home.parent, at=point.call.number, action=point.action)
        ran = _run(scene, place, **fault)
        try:
            _check_end(point, ran)
            check(place, scene.kept)
            check_converged(place, _run(scene, place), scene.kept)
        except AssertionError as error:
            return ran.returncode, str(error)
    return ran.returncode, ""


def _run(scene: Scene, place: Place, **more: str) -> subprocess.CompletedProcess[str]:
    # What is to be struck is a process of its own: the shim is loaded when one starts.
    return forks().run(
        scene.command(place)[3:], env={**scene.environment(place), **more}, cwd=place.home.parent, timeout=120
    )


def _check_end(point: Point, ran: subprocess.CompletedProcess[str]) -> None:
    """One whose call failed either did not need it or says so in one line."""
    if point.action.startswith("kill"):
        assert ran.returncode in (-signal.SIGKILL, 0), f"ended with {ran.returncode}: {ran.stderr}"
    else:
        check_end(ran.returncode, ran.stderr)
