"""Sync and check: the cache holds what is locked and nothing else is asked for, from any kind of store."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mirror import Mirror, mirror
from recorded import Recorded

from llstore.store import Digest, Manifest, Name, Pace, PutRequest, Role, Settings, Store
from llstore.store.blocks import BLOCK_SIZE
from llstore.store.bucket import Bucket
from llstore.store.curate import remove
from llstore.store.errors import Damaged, LockBroken, ModelNotFound, OverBudget
from llstore.store.layout import blob_key, manifest_key
from llstore.store.lock.check import current, in_store
from llstore.store.lock.lockfile import Locked, Lockfile
from llstore.store.lock.project import Wanted
from llstore.store.lock.resolve import renew
from llstore.store.lock.sync import Synced, bring, share

Machine = Callable[..., Store]
SPARE = 16 * 4096  # the disk gives whole pages, and counts those in which it notes where they lie
SECRET = "sig=s3cr%2Ft"
WANTED = (
    Wanted("big", "team/big"),
    Wanted("chat", "team/chat:prod"),
    Wanted("night", "team/night", profiles=("night",)),
)


@pytest.fixture(scope="module")
def stored(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lockfile]:
    """A store of three models and their lock: a real one, a larger one, and one of the profile `night`."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "www").mkdir()
    with Store(Settings(cache=folder / "c", data=folder / "d", url=(folder / "www").as_uri())) as store:
        store.put(PutRequest(tiny, name=Name.parse("team/chat:prod")))
        put(store, folder / "big", os.urandom(400_001), "team/big")
        put(store, folder / "night", b"good night", "team/night")
        return folder / "www", renew(store, WANTED, None)


@pytest.fixture
def www(stored: tuple[Path, Lockfile], tmp_path: Path) -> Path:
    """A copy of that store of the test's own."""
    return Path(shutil.copytree(stored[0], tmp_path / "www"))


@pytest.fixture
def lock(stored: tuple[Path, Lockfile]) -> Lockfile:
    return stored[1]


@pytest.fixture
def machine(tmp_path: Path, www: Path) -> Iterator[Machine]:
    """Opens the store as a machine of some name sees it, by default the folder itself."""
    opened = []

    def store(name: str, *, url: str = www.as_uri(), **settings: object) -> Store:
        home = tmp_path / name
        opened.append(Store(Settings(cache=home / "c", data=home / "d", url=url, **settings)))  # type: ignore[arg-type]
        return opened[-1]

    yield store
    for one in opened:
        one.close()


def put(store: Store, path: Path, data: bytes, name: str, **request: object) -> Digest:
    path.write_bytes(data)
    request.setdefault("role", Role.OTHER)
    return store.put(PutRequest(path, name=Name.parse(name), **request)).manifest.model  # type: ignore[arg-type]


@pytest.fixture
def server(www: Path) -> Iterator[Mirror]:
    with mirror(www, query=SECRET) as found:
        yield found


def contents(models: tuple[Synced, ...]) -> dict[str, Digest]:
    return {model.locked.name: Digest.of(model.path.read_bytes()) for model in models}


def test_a_fresh_machine_gets_what_is_locked_and_nothing_twice(machine: Machine, lock: Lockfile) -> None:
    store = machine("b")
    synced = bring(store, lock.models)
    assert contents(synced) == {model.name: model.digest for model in lock.models}
    assert sum(model.fetched_bytes for model in synced) == sum(model.size for model in lock.models)
    assert [model.fetched_bytes for model in bring(store, lock.models)] == [0, 0, 0]


def test_a_mirror_is_enough_and_is_never_asked_for_the_catalog(
    machine: Machine, lock: Lockfile, server: Mirror
) -> None:
    assert contents(bring(machine("b", url=server.url), lock.models)).keys() == {"big", "chat", "night"}
    paths = [path for _, path in server.requests]
    assert not [path for path in paths if "journal" in path or "snapshots" in path]
    assert in_store(machine("c", url=server.url), lock.models) == []


def test_when_all_is_here_the_store_is_not_asked_and_nothing_is_hashed(
    machine: Machine, lock: Lockfile, server: Mirror
) -> None:
    bring(machine("b", url=server.url), lock.models)
    server.requests.clear()
    steps: list[str] = []
    bring(machine("b", url=server.url), lock.models, lambda step, done, total: steps.append(step))
    assert (server.requests, steps) == ([], [])


def test_only_what_is_missing_is_asked_for(machine: Machine, lock: Lockfile, server: Mirror) -> None:
    bring(machine("b", url=server.url), lock.models[1:])
    server.requests.clear()
    bring(machine("b", url=server.url), lock.models)
    asked = {path for _, path in server.requests}
    big = lock.models[0].digest
    assert asked == {"/llstore.json", f"/{manifest_key(big)}", f"/{blob_key(big)}", f"/blocks{blob_key(big)[5:]}"}


def test_files_come_side_by_side_and_their_progress_is_one(machine: Machine, tmp_path: Path) -> None:
    store = machine("a")
    datas = [os.urandom(1000 + number) for number in range(4)]
    wanted = [Wanted(f"m{number}", f"t/m{number}") for number in range(4)]
    for number, data in enumerate(datas):
        put(store, tmp_path / "file", data, f"t/m{number}")
    lock = renew(store, wanted, None)
    meeting, lanes, seen = threading.Barrier(4), set[str](), list[tuple[int, int]]()

    def tell(step: str, done: int, total: int) -> None:
        seen.append((done, total))

    there = machine("b")
    recorded = Meeting(there.bucket.source, meeting, lanes)
    there.__dict__["bucket"] = Bucket(recorded, source=recorded)
    bring(there, lock.models, tell)
    assert len(lanes) == 4, "the four blobs were asked for by four threads, each while the others were"
    total = sum(map(len, datas))
    assert seen[-1] == (total, total)
    assert {whole for _, whole in seen} == {total}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


class Meeting(Recorded):
    """Answers nobody who asks for a blob's size before as many ask as the barrier waits for."""

    def __init__(self, backend: object, barrier: threading.Barrier, lanes: set[str]) -> None:
        super().__init__(backend)  # type: ignore[arg-type]
        self._barrier, self._lanes = barrier, lanes

    def stat(self, key: str):
        if key.startswith("blobs/"):
            self._lanes.add(key)
            self._barrier.wait(timeout=10)
        return super().stat(key)


def test_several_files_at_once_have_half_the_connections_each() -> None:
    assert [share(Pace(connections=4), files).connections for files in (1, 2, 9)] == [4, 2, 2]
    assert share(Pace(connections=1), 2).connections == 1


def test_what_does_not_fit_is_refused_before_a_byte_moves(machine: Machine, lock: Lockfile, server: Mirror) -> None:
    budget = sum(model.size for model in lock.models) - 1
    assert max(model.size for model in lock.models) < budget, "each alone would fit"
    store = machine("b", url=server.url, cache_max_bytes=budget)
    with pytest.raises(OverBudget):
        bring(store, lock.models)
    assert not [path for _, path in server.requests if path.startswith("/blobs")]
    assert len(bring(machine("c", url=server.url, cache_max_bytes=budget + 1 + SPARE), lock.models)) == 3


def test_room_is_made_by_what_is_not_locked(machine: Machine, lock: Lockfile, tmp_path: Path) -> None:
    other = put(machine("a"), tmp_path / "other", os.urandom(1_000_000), "team/other")
    store = machine("b", cache_max_bytes=sum(model.size for model in lock.models) + 900_000)
    bring(store, lock.models[1:])
    # The locked ones are the least recently used, and stay.
    store.get(other)
    assert len(store.cache.entries()) == 3
    bring(store, lock.models)
    assert {blob.digest for blob in store.cache.entries()} == {model.digest for model in lock.models}


def test_a_sync_that_was_cut_off_goes_on_and_counts_what_it_left(
    machine: Machine, lock: Lockfile, tmp_path: Path
) -> None:
    put(machine("a"), tmp_path / "large", os.urandom(2 * BLOCK_SIZE + 77), "team/large")
    large = renew(machine("a"), [*WANTED, Wanted("large", "team/large")], lock, anew=())
    size = sum(model.size for model in large.models)

    def interrupt(step: str, done: int, total: int) -> None:
        if done >= BLOCK_SIZE:
            raise KeyboardInterrupt

    store = machine("b", cache_max_bytes=size + SPARE)
    with pytest.raises(KeyboardInterrupt):
        bring(store, large.models, interrupt)
    # A small one may be on its way still: an interrupt waits for nobody.
    left = [path.stat().st_size for path in (store.cache.root / "partial").glob("*.part")]
    assert max(left) == 2 * BLOCK_SIZE + 77
    synced = bring(machine("b", cache_max_bytes=size + SPARE), large.models)
    assert synced[2].fetched_bytes < 2 * BLOCK_SIZE
    assert contents(synced) == {model.name: model.digest for model in large.models}


def test_a_file_of_two_models_is_fetched_once(machine: Machine, lock: Lockfile) -> None:
    twice = Lockfile.of([*lock.models, replace(lock.models[1], name="again")])
    synced = bring(machine("b"), twice.models)
    assert [model.fetched_bytes > 0 for model in synced] == [True, True, False, True] or [
        model.fetched_bytes > 0 for model in synced
    ] == [True, False, True, True]
    assert sum(model.fetched_bytes for model in synced) == sum(model.size for model in lock.models)


def test_only_files_of_the_wanted_roles_are_fetched(machine: Machine, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("do as you like")
    request = PutRequest(
        tiny, more=(tmp_path / "LICENSE",), roles=(("LICENSE", Role.LICENSE),), name=Name.parse("team/two")
    )
    machine("a").put(request)
    (locked,) = renew(machine("a"), [Wanted("terms", "team/two", roles=(Role.LICENSE,))], None).models
    store = machine("b")
    (synced,) = bring(store, [locked])
    assert synced.path.read_text() == "do as you like"
    assert len(store.cache.entries()) == 1
    (whole,) = bring(store, [replace(locked, roles=())])
    assert whole.path.read_bytes() == tiny.read_bytes()


def test_a_digest_that_is_not_in_the_store_breaks_the_lock(machine: Machine, lock: Lockfile, www: Path) -> None:
    chat = lock.models[1]
    (www / manifest_key(chat.digest)).unlink()
    with pytest.raises(LockBroken, match=rf"llstore.lock names chat {chat.digest}, which is not in file://"):
        bring(machine("b"), lock.models)
    (found,) = in_store(machine("b"), lock.models)
    assert (found.name, found.kind) == ("chat", "absent")


@pytest.mark.parametrize(
    "change",
    [
        lambda file: replace(file, blocks=Digest.of(b"other")),
        lambda file: replace(file, size=file.size + 1),
        lambda file: replace(file, role=Role.DRAFT),
    ],
)
def test_a_lock_that_says_other_than_the_store_does_not_hold(
    machine: Machine, lock: Lockfile, change: Callable[..., object]
) -> None:
    chat = lock.models[1]
    edited = replace(chat, files=(change(chat.files[0]),))  # type: ignore[arg-type]
    bring(machine("warm"), lock.models)
    for store in (machine("b"), machine("warm"), machine("warm", offline=True)):
        with pytest.raises(LockBroken, match=r"^chat: "):
            bring(store, [lock.models[0], edited])
        assert [one.kind for one in in_store(store, [edited])] == ["differs"]


def test_a_manifest_that_another_store_left_in_the_cache_is_asked_for_anew(
    machine: Machine, lock: Lockfile, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    with Store(Settings(cache=tmp_path / "b/c", data=tmp_path / "b/d", url=(tmp_path / "elsewhere").as_uri())) as store:
        night = put(store, tmp_path / "night", b"good night", "team/x", role=Role.LICENSE)
        store.get(night)
        assert store.cache.manifest(night) == Manifest.decode(
            (tmp_path / "elsewhere" / manifest_key(night)).read_bytes()
        )
    bring(machine("b"), lock.models)
    kept = machine("b").cache.manifest(night)
    assert kept
    assert kept.main.role is Role.OTHER


def test_a_manifest_of_an_older_spelling_is_that_of_the_same_files(machine: Machine, lock: Lockfile, www: Path) -> None:
    chat = lock.models[1]
    path = www / manifest_key(chat.digest)
    manifest = Manifest.decode(path.read_bytes())
    path.chmod(0o644)
    path.write_bytes(replace(manifest, facts=replace(manifest.facts, tokenizer=None)).encode())
    assert Manifest.decode(path.read_bytes()).digest != chat.manifest
    assert contents(bring(machine("b"), [chat])) == {"chat": chat.digest}
    assert in_store(machine("b"), [chat]) == []


def test_offline_serves_what_is_here_and_names_what_is_not(machine: Machine, lock: Lockfile) -> None:
    bring(machine("b"), lock.models[1:])
    away = machine("b", offline=True)
    assert contents(bring(away, lock.models[1:])).keys() == {"chat", "night"}
    with pytest.raises(ModelNotFound, match=r"^big "):
        bring(away, lock.models)
    night = lock.models[2]
    (away.cache.path(night.digest)).unlink()
    with pytest.raises(ModelNotFound, match=r"^night: "):
        bring(away, lock.models[1:])


def test_damage_found_offline_is_said_and_online_is_mended(machine: Machine, lock: Lockfile) -> None:
    bring(machine("b"), lock.models)
    path = machine("b").cache.path(lock.models[2].digest)
    path.chmod(0o644)
    path.write_bytes(b"bad night!")
    with pytest.raises(Damaged, match=r"^night: "):
        bring(machine("b", offline=True), lock.models)
    path.write_bytes(b"bad night!")
    store = machine("b")
    assert contents(bring(store, lock.models))["night"] == lock.models[2].digest
    assert len(store.warnings) == 1


def test_the_stores_bytes_are_looked_at_by_check(machine: Machine, lock: Lockfile, www: Path) -> None:
    big, chat, _ = lock.models
    for model in (big, chat):
        (www / blob_key(model.digest)).chmod(0o644)
    (www / blob_key(big.digest)).unlink()
    (www / blob_key(chat.digest)).write_bytes(b"short")
    found = in_store(machine("b"), lock.models)
    assert [one.name for one in found] == ["big", "chat"]
    assert "is not there" in found[0].message
    assert "has 5 bytes" in found[1].message


def test_offline_check_holds_the_lock_against_the_cache(machine: Machine, lock: Lockfile) -> None:
    bring(machine("b"), lock.models)
    wrong = replace(lock.models[1], files=(replace(lock.models[1].files[0], role=Role.DRAFT),))
    away = machine("b", offline=True)
    assert in_store(away, lock.models) == []
    assert [one.kind for one in in_store(away, [wrong])] == ["differs"]
    assert in_store(machine("fresh", offline=True), [wrong]) == [], "nothing is known there"


def test_a_moved_name_and_one_that_is_gone_are_not_current(machine: Machine, lock: Lockfile, tmp_path: Path) -> None:
    store = machine("b")
    assert current(store, lock.models) == []
    moved = put(machine("a"), tmp_path / "new", b"another", "team/chat:prod")
    strange = Locked.of(Wanted("gone", "team/gone"), Manifest.of(lock.models[2].files))
    found = current(store, [*lock.models, strange])
    assert [str(one).partition(";")[0] for one in found] == [
        f"chat: team/chat:prod moved from {lock.models[1].digest} to {moved}",
        f"gone: no model team/gone:latest in {store.url}",
    ]


def test_a_removed_model_is_not_current_however_it_is_pinned(machine: Machine, lock: Lockfile) -> None:
    chat = replace(lock.models[1], ref=str(lock.models[1].digest))
    assert current(machine("b"), [chat]) == []
    remove(machine("a"), [chat.digest], force=True)
    assert in_store(machine("b"), [chat]) == [], "its bytes are there until they are collected"
    (found,) = current(machine("b"), [chat, lock.models[2]])
    assert (found.name, found.kind) == ("chat", "removed")


def test_names_are_looked_up_in_one_sync_and_full_digests_in_none(machine: Machine, lock: Lockfile) -> None:
    pinned = [Wanted(model.name, f"team/x@{model.digest}") for model in lock.models]

    def listings(wanted: list[Wanted]) -> int:
        store = machine(os.urandom(4).hex())
        recorded = Recorded(store.bucket.source)
        store.__dict__["bucket"] = Bucket(recorded)
        found = renew(store, wanted, None)
        assert [model.digest for model in found.models] == [model.digest for model in lock.models]
        return recorded.totals.list

    assert (listings(pinned), listings([*WANTED])) == (0, listings([WANTED[0], *pinned[1:]]))


def test_a_lock_is_renewed_only_where_it_must_be(machine: Machine, lock: Lockfile, tmp_path: Path) -> None:
    moved = put(machine("a"), tmp_path / "new", b"another", "team/chat:prod")
    put(machine("a"), tmp_path / "newer", b"yet another", "team/big")
    store = machine("b")
    assert renew(store, WANTED, lock, anew=()) == lock
    only = renew(store, WANTED, lock, anew={"chat"})
    assert [model.digest for model in only.models] == [lock.models[0].digest, moved, lock.models[2].digest]
    described = (replace(WANTED[0], ref="team/big:latest", profiles=("x",)), replace(WANTED[1], ref="team/night"))
    renewed = renew(store, described, lock, anew=())
    assert renewed.models[0] == replace(lock.models[0], ref="team/big:latest", profiles=("x",))
    assert renewed.models[1].digest == lock.models[2].digest
    assert len(renewed.models) == 2


def test_the_embedded_store_can_be_locked_and_synced(settings: Settings, tiny: Path) -> None:
    with Store(settings) as store:
        store.put(PutRequest(tiny, name=Name.parse("team/chat")))
        lock = renew(store, [Wanted("chat", "team/chat")], None)
        (synced,) = bring(store, lock.models)
        assert (synced.path.read_bytes(), synced.fetched_bytes) == (tiny.read_bytes(), 0)
        assert in_store(store, lock.models) == []
