"""Copies of a store in another, by hash."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny as tiny_model
from mirror import mirror as served
from recorded import Recorded
from seaweed import SeaweedFS

from llstore.store import Digest, Name, PutRequest, Role, Settings, Store, ulid
from llstore.store.blocks import BLOCK_SIZE
from llstore.store.entry import remove_entry, sweep_entry
from llstore.store.errors import Refused, Unreachable
from llstore.store.exchange.bring import Brought
from llstore.store.exchange.mirror import mirror, plan
from llstore.store.layout import blob_key, blocks_key
from llstore.store.sync import write_snapshot

Command = Callable[..., subprocess.CompletedProcess[str]]
CHAT = Name.parse("team/chat:v1")
LARGE = b"".join(bytes([number]) * BLOCK_SIZE for number in range(2)) + b"tail"


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """A store in a folder."""
    (tmp_path / "here").mkdir()
    return Settings(cache=tmp_path / "cache", data=tmp_path / "data", url=(tmp_path / "here").as_uri())


@pytest.fixture
def there(tmp_path: Path, here: Settings) -> Settings:
    """Another, on the same machine."""
    (tmp_path / "there").mkdir()
    return replace(here, url=(tmp_path / "there").as_uri())


@pytest.fixture
def models(here: Settings, tiny: Path, shards: list[Path]) -> list[Digest]:
    with Store(here) as store:
        first = store.put(PutRequest(tiny, name=CHAT, labels={"stage": "prod"}))
        second = store.put(PutRequest(shards[0], more=tuple(shards[1:])))
    return [first.manifest.model, second.manifest.model]


def copy(here: Settings, there: Settings, *refs: Digest | Name, **options: bool) -> Brought:
    with Store(here) as source, Store(there) as target:
        return mirror(source, target, refs or None, **options)


def same(here: Settings, there: Settings) -> bool:
    with Store(here) as source, Store(there) as target:
        mine, theirs = (
            {model.digest: (model.manifest, model.names, model.labels) for model in store.models()}
            for store in (source, target)
        )
    return mine == theirs


@pytest.mark.parametrize("kinds", [("s3", "folder"), ("filer", "s3"), ("folder", "filer"), ("folder", "embedded")])
def test_a_store_is_copied_between_any_two_kinds(
    kinds: tuple[str, str], seaweed: SeaweedFS, tmp_path: Path, tiny: Path
) -> None:
    settings = []
    for number, kind in enumerate(kinds):
        name = f"mirror-{tmp_path.name[-12:].replace('_', '-')}-{number}"
        bucket = seaweed.bucket(name) if kind in ("s3", "filer") else ""
        (tmp_path / str(number)).mkdir()
        urls = {"s3": bucket, "folder": (tmp_path / str(number)).as_uri(), "embedded": None}
        url = seaweed.filer_url(name) if kind == "filer" else urls[kind]
        settings.append(Settings(cache=tmp_path / f"{number}/c", data=tmp_path / f"{number}/d", url=url))
    (tmp_path / "large").write_bytes(LARGE)
    with Store(settings[0]) as store:
        store.put(PutRequest(tiny, name=CHAT, labels={"stage": "prod"}, annotations={"source": "here"}))
        store.put(PutRequest(tmp_path / "large", role=Role.OTHER))
    done = copy(*settings)
    assert done.uploaded_bytes == tiny.stat().st_size + len(LARGE)
    assert same(*settings)
    with Store(settings[1]) as store:
        assert store.get(Digest.of(LARGE)).path.read_bytes() == LARGE
        assert store.get(CHAT).path.read_bytes() == tiny.read_bytes()


@pytest.mark.parametrize("ranges", [True, False])
def test_an_https_mirror_with_a_snapshot_is_copied(
    here: Settings, there: Settings, models: list[Digest], tmp_path: Path, ranges: bool
) -> None:
    grow_old(tmp_path / "here/journal")
    elsewhere = replace(here, data=tmp_path / "elsewhere")
    with Store(elsewhere) as store:
        write_snapshot(store.bucket, store.catalog)
    with served(tmp_path / "here", ranges=ranges) as server:
        read_only = Settings(cache=tmp_path / "m/c", data=tmp_path / "m/d", url=server.url)
        assert len(copy(read_only, there).arrivals) == len(models)
        with pytest.raises(Refused, match="read-only"):
            copy(there, read_only)
    assert same(elsewhere, there)


def grow_old(journal: Path) -> None:
    """Make the entries three days older."""
    for number, entry in enumerate(sorted(journal.iterdir())):
        entry.rename(journal / f"{ulid.mint(time.time() - 3 * 86_400 + number, after='')}.json")


def test_a_second_time_nothing_travels(here: Settings, there: Settings, models: list[Digest]) -> None:
    copy(here, there)
    with Store(here) as source, Store(there) as target:
        source.source, target.source = Recorded(source.source), Recorded(target.source)
        done = mirror(source, target)
        assert [arrival.new for arrival in done.arrivals] == [False] * len(models)
        assert target.source.totals.write == 0
        assert not [call for call in source.source.calls if call.key.startswith("blobs/")]


def test_only_missing_bytes_travel(here: Settings, there: Settings, models: list[Digest], tiny: Path) -> None:
    (license := here.data / "LICENSE").write_text("free")
    with Store(here) as store:
        both = store.put(PutRequest(tiny, more=(license,))).manifest.model
    with Store(there) as store:
        store.put(PutRequest(tiny))
    assert copy(here, there, both).uploaded_bytes == len("free")


def test_a_dry_run_says_what_would_travel_and_writes_nothing(
    here: Settings, there: Settings, models: list[Digest], tmp_path: Path
) -> None:
    with Store(here) as source, Store(there) as target:
        planned = plan(source, target, None)
    assert {model.digest for model in planned.lacking} == set(models)
    assert planned.bytes_lacking == sum(model.manifest.size for model in planned.lacking)
    assert list((tmp_path / "there").iterdir()) == []


def test_names_of_the_other_store_stay_unless_they_may_move(
    here: Settings, there: Settings, models: list[Digest], tmp_path: Path
) -> None:
    with Store(there) as store:
        mine = store.put(PutRequest(tiny_model.write_tiny(tmp_path / "m.gguf", seed=3), name=CHAT)).manifest.model
    assert [(kept.name, kept.here, kept.there) for kept in copy(here, there).kept_names] == [
        (str(CHAT), mine, models[0])
    ]
    copy(here, there, move_names=True)
    with Store(there) as store:
        assert store.resolve(CHAT) == models[0]


def test_a_model_with_wrong_bytes_is_left_out_and_the_others_come(
    here: Settings, there: Settings, models: list[Digest], tmp_path: Path
) -> None:
    path = tmp_path / "here" / blob_key(models[0])
    path.chmod(0o644)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = copy(here, there)
    assert [failure.model for failure in done.failures] == [models[0]]
    with Store(there) as store:
        assert [model.digest for model in store.models()] == [models[1]]
        assert not [stat for stat in store.bucket.backend.list("blobs/") if models[0].hex in stat.key]


def test_bytes_that_fit_a_forged_block_list_are_not_believed(
    here: Settings, there: Settings, models: list[Digest], tmp_path: Path
) -> None:
    """The block list is only a hint: a blob becomes one by its SHA-256."""
    from llstore.store.fingerprint import fingerprint

    forged = b"\0" * (tmp_path / "here" / blob_key(models[0])).stat().st_size
    for key, data in ((blob_key(models[0]), forged), (blocks_key(models[0]), fingerprint([forged]).blocks.encode())):
        (tmp_path / "here" / key).chmod(0o644)
        (tmp_path / "here" / key).write_bytes(data)
    assert [failure.model for failure in copy(here, there, models[0]).failures] == [models[0]]


def test_a_lost_block_list_is_made_anew(here: Settings, there: Settings, models: list[Digest], tmp_path: Path) -> None:
    (tmp_path / "here" / blocks_key(models[0])).unlink()
    copy(here, there, models[0])
    with Store(there) as store:
        assert store.get(models[0]).manifest.model == models[0]
        assert not store.warnings


def test_what_was_cut_short_is_completed(here: Settings, there: Settings, models: list[Digest], tmp_path: Path) -> None:
    copy(here, there)
    for entry in (tmp_path / "there/journal").iterdir():
        entry.unlink()
    for catalog in there.data.glob("catalog-*"):
        catalog.unlink()
    assert copy(here, there).uploaded_bytes == 0
    assert same(here, there)


def test_what_is_cached_is_not_read_from_the_store(
    here: Settings, there: Settings, models: list[Digest], tmp_path: Path
) -> None:
    with Store(here) as store:
        store.get(models[0])
    with Store(here) as source, Store(there) as target:
        source.source = Recorded(source.source)
        mirror(source, target, [models[0]])
        assert not [call for call in source.source.calls if call.verb == "read" and call.key.startswith("blobs/")]


def test_a_blob_that_a_sweep_may_be_deleting_is_sent_when_it_has_ended(
    here: Settings, there: Settings, models: list[Digest], tiny: Path, tmp_path: Path
) -> None:
    with Store(there) as target:
        target.put(PutRequest(tiny))
        until = remove(target, models[0], sweep_seconds=1)
    assert copy(here, there, models[0]).uploaded_bytes == tiny.stat().st_size
    last = max(path.stem for path in (tmp_path / "there/journal").iterdir())
    assert ulid.seconds(last) >= until


def remove(store: Store, model: Digest, *, sweep_seconds: float) -> float:
    """As a collector does that is at work; when its sweep ends."""
    journal = store.bucket.journal
    journal.append(remove_entry(model))
    until = journal.clock() + sweep_seconds
    journal.append(sweep_entry([model], until=until))
    return until


def test_offline_nothing_is_mirrored(here: Settings, there: Settings, models: list[Digest]) -> None:
    with pytest.raises(Unreachable):
        copy(replace(here, offline=True), there)
    with pytest.raises(Unreachable):
        copy(here, replace(there, offline=True))


def test_the_command(llstore: Command, tiny: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    here, there = (tmp_path / "a").as_uri(), (tmp_path / "b").as_uri()
    digest = llstore("put", tiny, "--name", "t/tiny", "--store", here).stdout.strip()
    assert llstore("mirror", here, there).returncode == 2
    dry = llstore("mirror", here, there, "--all", "--dry-run", "--json")
    assert json.loads(dry.stdout)["models"] == [{"digest": digest, "names": ["t/tiny:latest"]}]
    done = json.loads(llstore("mirror", here, there, "t/tiny", "--json").stdout)
    assert (done["uploaded_bytes"], done["kept_names"], done["failed"]) == (tiny.stat().st_size, [], [])
    assert llstore("get", "t/tiny", "--store", there).returncode == 0
    assert llstore("mirror", here, there, "--all").stdout == ""
    assert llstore("mirror", here, there, "t/absent").returncode == 3
    assert llstore("mirror", here, there, "--all", "--offline").returncode == 5
    (tmp_path / "note").write_text("note")
    damaged = llstore("put", tmp_path / "note", "--role", "other", "--store", here).stdout.strip()
    path = tmp_path / "a" / blob_key(Digest.parse(damaged))
    path.chmod(0o644)
    path.write_text("nope")
    assert llstore("mirror", here, there, "--all").returncode == 4
