"""Imports from Hugging Face, against a stand-in of its API."""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny as tiny_model
from hub import Hub, Repo, hub

from llstore.store import Name, PutRequest, Settings, Store
from llstore.store.errors import (
    AmbiguousSource,
    Damaged,
    FileNotThere,
    InvalidSource,
    ModelNotFound,
    Refused,
    StoreError,
    Unreachable,
    Unsafe,
)
from llstore.store.exchange.arriving import Imported, Wishes
from llstore.store.exchange.hf import HubRef, choose, import_hub

Command = Callable[..., subprocess.CompletedProcess[str]]
TOKEN = "hf_thisIsTheTokenThatNobodyMaySee"


@pytest.fixture(scope="module", autouse=True)
def _own_hub_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    # huggingface_hub reads them once, when it is loaded: no token or cached file of this machine's user may help.
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hf"))
    os.environ.pop("HF_TOKEN", None)


@pytest.fixture
def server(tiny: Path) -> Iterator[Hub]:
    with hub() as running:
        running.repos["org/tiny"] = Repo({"tiny.gguf": tiny.read_bytes(), "README.md": b"hi"}, {"license": "mit"})
        yield running


@pytest.fixture
def several(server: Hub, tmp_path: Path, tiny: Path) -> Hub:
    other = tiny_model.write_tiny(tmp_path / "other.gguf", seed=1).read_bytes()
    server.repos["org/several"] = Repo({"m-Q4_K_M.gguf": tiny.read_bytes(), "m-Q8_0.gguf": other})
    return server


def brought(settings: Settings, server: Hub, place: str, **wishes: object) -> Imported:
    with Store(settings) as store:
        return import_hub(store, HubRef.parse(place), Wishes(**wishes), endpoint=server.url)  # type: ignore[arg-type]


def leftovers(settings: Settings) -> list[Path]:
    return [path for path in settings.embedded.glob("partial/**/*") if path.is_file()]


def test_a_repository_with_one_model_is_stored_under_its_sha256(settings: Settings, server: Hub, tiny: Path) -> None:
    done = brought(settings, server, "hf://org/tiny", name=Name.parse("org/tiny:v1"), labels={"a": "b"})
    assert done.manifest.model.hex == hashlib.sha256(tiny.read_bytes()).hexdigest()
    with Store(settings) as store:
        found = store.get(Name.parse("org/tiny:v1"))
        model = store.model(done.manifest.model)
    assert found.path.read_bytes() == tiny.read_bytes()
    assert found.path.stat().st_mode & 0o777 == 0o444
    assert model.labels == {"a": "b"}
    commit = server.repos["org/tiny"].commit
    assert model.annotations == {"source": f"hf://org/tiny/tiny.gguf@{commit}", "license": "mit"}
    assert not leftovers(settings)


def test_the_commit_is_downloaded_and_not_the_branch(settings: Settings, server: Hub) -> None:
    brought(settings, server, "hf://org/tiny@v1")
    asked = [path for _, path, _ in server.requests if "/resolve/" in path]
    assert asked
    assert all(f"/resolve/{server.repos['org/tiny'].commit}/" in path for path in asked)


def test_what_the_store_has_by_its_sha256_is_not_downloaded(settings: Settings, server: Hub, tiny: Path) -> None:
    with Store(settings) as store:
        store.put(PutRequest(tiny))
    done = brought(settings, server, "hf://org/tiny", name=Name.parse("org/again"))
    assert (done.downloaded_bytes, done.uploaded_bytes, done.names) == (0, 0, ("org/again:latest",))
    assert not server.sent
    with Store(settings) as store:
        assert store.model(Name.parse("org/again")).annotations["source"].startswith("hf://org/tiny/")
        assert len(store.models()) == 1


def test_a_bucket_gets_it_and_no_second_copy_stays_here(bucket: str, home: Path, server: Hub, tiny: Path) -> None:
    settings = Settings(cache=home / "cache", data=home / "data", url=bucket)
    done = brought(settings, server, "hf://org/tiny/tiny.gguf")
    with Store(settings) as store:
        assert not store.is_cached(done.manifest)
        assert not [path for path in (home / "cache/partial").rglob("*") if path.is_file()]
        assert store.get(done.manifest.model).path.read_bytes() == tiny.read_bytes()


def test_several_models_are_listed_and_one_is_to_be_named(settings: Settings, several: Hub) -> None:
    with pytest.raises(AmbiguousSource, match=r"m-Q4_K_M\.gguf, m-Q8_0\.gguf"):
        brought(settings, several, "hf://org/several")
    assert not several.sent
    assert brought(settings, several, "hf://org/several/*Q4_K_M*.gguf").downloaded_bytes
    assert len(several.sent) == 1


def test_shards_of_a_pattern_are_one_model(settings: Settings, server: Hub, shards: list[Path]) -> None:
    files = {f"Q4/{path.name}": path.read_bytes() for path in shards}
    server.repos["org/sharded"] = Repo(files)
    whole = brought(settings, server, "hf://org/sharded")
    assert [str(file.role) for file in whole.manifest.files] == ["shard"] * len(shards)
    named = brought(settings, server, f"hf://org/sharded/Q4/{shards[1].name}")
    assert (named.manifest.model, named.downloaded_bytes) == (whole.manifest.model, 0)
    del server.repos["org/sharded"].files[f"Q4/{shards[0].name}"]
    with pytest.raises(FileNotThere, match="shards"):
        brought(settings, server, "hf://org/sharded")


def test_a_projector_comes_only_when_it_is_meant(settings: Settings, server: Hub, tiny: Path, projector: Path) -> None:
    server.repos["org/sees"] = Repo({"m-f16.gguf": tiny.read_bytes(), "mmproj-f16.gguf": projector.read_bytes()})
    assert len(brought(settings, server, "hf://org/sees").manifest.files) == 1
    both = brought(settings, server, "hf://org/sees/*f16.gguf")
    assert [str(file.role) for file in both.manifest.files] == ["weights", "projector"]


def test_a_broken_connection_is_taken_up_where_it_broke(settings: Settings, server: Hub, tiny: Path) -> None:
    server.cuts = 1
    assert brought(settings, server, "hf://org/tiny").manifest.size == tiny.stat().st_size
    assert len(server.sent) == 2


def test_wrong_bytes_are_refused_and_nothing_is_stored(settings: Settings, server: Hub) -> None:
    server.wrong = True
    with pytest.raises(Damaged, match="is damaged"):
        brought(settings, server, "hf://org/tiny")
    assert not leftovers(settings)
    with Store(settings) as store:
        assert store.models() == []


def test_what_came_whole_before_a_failure_is_not_downloaded_again(
    settings: Settings, server: Hub, shards: list[Path]
) -> None:
    server.repos["org/sharded"] = Repo({path.name: path.read_bytes() for path in shards})
    last = hashlib.sha256(shards[-1].read_bytes()).hexdigest()
    server.status[f"/cdn/{last}"] = 403
    with pytest.raises(Refused):
        brought(settings, server, "hf://org/sharded")
    server.status.clear()
    server.requests.clear()
    brought(settings, server, "hf://org/sharded")
    assert server.sent == [f"/cdn/{last}"]
    assert not leftovers(settings)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("hf://org/absent", ModelNotFound),
        ("hf://org/tiny@nosuch", ModelNotFound),
        ("hf://org/tiny/absent.gguf", FileNotThere),
        ("hf://org/tiny/*.bin", FileNotThere),
        ("hf://org/tiny/README.md", Unsafe),
    ],
)
def test_what_is_not_there(settings: Settings, server: Hub, place: str, kind: type[StoreError]) -> None:
    with pytest.raises(kind):
        brought(settings, server, place)


def test_who_may_not_read_is_told_of_the_token(settings: Settings, server: Hub, tiny: Path) -> None:
    server.repos["org/gated"] = Repo({"m.gguf": tiny.read_bytes()}, token=TOKEN, gated=True)
    server.repos["org/private"] = Repo({"m.gguf": tiny.read_bytes()}, token=TOKEN)
    for place, word in (("hf://org/gated", "gated"), ("hf://org/private", "private")):
        with pytest.raises(Refused, match=word) as caught:
            brought(settings, server, place)
        assert "HF_TOKEN" in caught.value.hint


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_no_error_of_the_hub_leaves_its_door(settings: Settings, server: Hub, status: int) -> None:
    server.status["/api/models/org/tiny/revision/main"] = status
    with pytest.raises(StoreError) as caught:
        brought(settings, server, "hf://org/tiny")
    expected = {401: Refused, 403: Refused, 404: ModelNotFound}.get(status, Unreachable)
    assert type(caught.value) is expected


def test_a_hub_that_fails_in_the_middle_is_unreachable(settings: Settings, server: Hub, tiny: Path) -> None:
    server.status[f"/cdn/{hashlib.sha256(tiny.read_bytes()).hexdigest()}"] = 500
    with pytest.raises(Unreachable, match="500"):
        brought(settings, server, "hf://org/tiny")
    assert not leftovers(settings)


def test_a_hub_that_is_not_there_is_unreachable(settings: Settings) -> None:
    with hub() as gone:
        pass
    with pytest.raises(Unreachable):
        brought(settings, gone, "hf://org/tiny")


@pytest.mark.parametrize("url", [None, "s3://bucket?endpoint=http://127.0.0.1:9"])
def test_offline_nothing_is_asked(settings: Settings, server: Hub, url: str | None) -> None:
    with pytest.raises(Unreachable, match="offline"):
        brought(replace(settings, url=url, offline=True), server, "hf://org/tiny")
    assert not server.requests


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ("m.gguf", ["m.gguf"]),
        ("m-00002-of-00002.gguf", ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]),
        ("m-0*.gguf", ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]),
        ("q/*", ["q/m.gguf", "q/mmproj.gguf"]),
        ("q/mmproj.gguf", ["q/mmproj.gguf"]),
    ],
)
def test_which_files_are_meant(asked: str, chosen: list[str]) -> None:
    paths = ["config.json", "m.gguf", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "q/m.gguf", "q/mmproj.gguf"]
    # Not before huggingface_hub was told where its home is.
    from llstore.store.exchange.hub import HubFile

    files = [HubFile(path, 1, None) for path in paths]
    assert [file.path for file in choose(files, HubRef("o/r", asked))] == chosen


@pytest.mark.parametrize(
    ("text", "repo", "path", "revision"),
    [
        ("hf://o/r", "o/r", None, "main"),
        ("hf://o/r@v1", "o/r", None, "v1"),
        ("hf://o/r/a/b.gguf", "o/r", "a/b.gguf", "main"),
        ("hf://o/r/b.gguf@abc", "o/r", "b.gguf", "abc"),
        ("hf://o/r@abc/b.gguf", "o/r", "b.gguf", "abc"),
        ("hf://o/r@refs/pr/1", "o/r", None, "refs/pr/1"),
        ("hf://o/r/*Q4*.gguf@v1", "o/r", "*Q4*.gguf", "v1"),
    ],
)
def test_a_place_is_read_from_its_text(text: str, repo: str, path: str | None, revision: str) -> None:
    assert HubRef.parse(text) == HubRef(repo, path, revision)


@pytest.mark.parametrize(
    "text", ["hf://", "hf://repo", "hf://o/", "hf:///r", "hf://o/r@", "hf://o/r/../x", "hf://o/r@a/../b", "hf://o/r\n"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(InvalidSource):
        HubRef.parse(text)


def test_the_command_finds_server_and_token_in_the_environment_and_shows_neither(
    llstore: Command, server: Hub, tiny: Path, tmp_path: Path
) -> None:
    server.repos["org/gated"] = Repo({"m.gguf": tiny.read_bytes()}, token=TOKEN, gated=True)
    environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf")}
    refused = llstore("import", "hf://org/gated", **environment)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (5, 1)
    done = llstore("import", "hf://org/gated", "--name", "org/gated", "--json", HF_TOKEN=TOKEN, **environment)
    assert done.returncode == 0, done.stderr
    assert '"downloaded_bytes": ' in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    assert all(token == ("" if path.startswith("/cdn/") else TOKEN) for _, path, token in server.requests[-3:])
    assert TOKEN not in "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*.db"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("hf://org",), 2),
        (("hf://org/absent",), 3),
        (("hf://org/tiny", "--offline"), 5),
        (("hf://org/tiny", "--link"), 2),
        (("hf://org/tiny", "--name", "noslash"), 2),
    ],
)
def test_a_bad_import_gets_one_line_and_its_code(
    llstore: Command, server: Hub, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    answer = llstore("import", *arguments, HF_ENDPOINT=server.url, HF_HOME=str(tmp_path / "hf"))
    assert (answer.returncode, answer.stdout, len(answer.stderr.splitlines())) == (code, "", 1), answer.stderr
