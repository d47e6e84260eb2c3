"""`llstore lock`, `llstore sync` and `llstore ci key`, as a person and a pull request use them."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tiny as tiny_model
from faulty import faulty
from seaweed import SeaweedFS

from llstore.cli import settings
from llstore.store import Digest, Name, PutRequest, Role, Settings, Store

Command = Callable[..., subprocess.CompletedProcess[str]]

MODELS = '[models]\nchat = "team/chat:prod"\nterms = {ref = "team/terms", profiles = ["legal"]}\n'


@pytest.fixture
def project(tiny: Path, tmp_path: Path) -> Path:
    """The folder where `llstore` runs: a store with two models, and a toml that wants them."""
    (tmp_path / "models").mkdir()
    write(tmp_path, MODELS)
    put(tmp_path, tiny, "team/chat:prod")
    (tmp_path / "terms").write_text("do as you like")
    put(tmp_path, tmp_path / "terms", "team/terms", role=Role.LICENSE)
    return tmp_path


def write(folder: Path, models: str) -> None:
    (folder / "llstore.toml").write_text(f'store = "{(folder / "models").as_uri()}"\n{models}')


def put(folder: Path, path: Path, name: str, *, role: Role | None = None) -> Digest:
    """What a colleague does on another machine."""
    home = folder / "colleague"
    with Store(Settings(cache=home / "c", data=home / "d", url=(folder / "models").as_uri())) as store:
        return store.put(PutRequest(path, role=role, name=Name.parse(name))).manifest.model


def move(folder: Path) -> Digest:
    """Give the name team/chat:prod to another model."""
    return put(folder, tiny_model.write_tiny(folder / "moved.gguf", seed=9), "team/chat:prod")


def refused(answer: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert answer.returncode == code, (answer.stdout, answer.stderr)
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    for word in words:
        assert word in answer.stderr
    assert answer.stdout == ""


def done(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_lock_tells_what_changed_and_the_same_input_is_the_same_lock(llstore: Command, project: Path) -> None:
    digests = re.findall(r"sha256:\w+", done(llstore("lock")))
    first = (project / "llstore.lock").read_bytes()
    again = llstore("lock")
    assert (again.returncode, again.stdout, "says so already" in again.stderr) == (0, "", True)
    (project / "llstore.lock").unlink()
    assert done(llstore("lock")) == f"added chat {digests[0]}\nadded terms {digests[1]}\n"
    assert (project / "llstore.lock").read_bytes() == first
    new = move(project)
    assert done(llstore("lock", "terms")) == ""
    assert done(llstore("lock", "chat")) == f"moved chat from {digests[0]} to {new}\n"
    write(project, '[models]\nchat = "team/chat:prod"\n')
    document = json.loads(done(llstore("lock", "--json")))
    assert document == {
        "path": str(project / "llstore.lock"),
        "models": 1,
        "changes": [{"name": "terms", "change": "removed", "from": digests[1], "to": None}],
    }


def test_sync_prints_a_name_and_a_path_a_line(llstore: Command, project: Path, tiny: Path) -> None:
    done(llstore("lock"))
    rows = dict(line.split("\t") for line in done(llstore("sync", "--frozen")).splitlines())
    assert {name: Path(path).read_bytes() for name, path in rows.items()} == {
        "chat": tiny.read_bytes(),
        "terms": b"do as you like",
    }
    document = json.loads(done(llstore("sync", "--frozen", "--json")))
    assert set(document) == {"models", "fetched_bytes", "seconds"}
    assert document["fetched_bytes"] == 0
    chat = document["models"][0]
    assert (chat["name"], chat["path"], chat["from_cache"]) == ("chat", rows["chat"], True)
    assert chat["files"] == [
        {"role": "weights", "digest": chat["digest"], "path": rows["chat"], "size": tiny.stat().st_size}
    ]


def test_the_project_is_found_from_a_folder_below(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "deep/down").mkdir(parents=True)
    monkeypatch.chdir(project / "deep/down")
    assert settings.project().lock == project / "llstore.lock"
    assert [one.name for one in settings.project().wanted] == ["chat", "terms"]


def test_sync_takes_a_profile_and_what_is_in_none(llstore: Command, project: Path) -> None:
    done(llstore("lock"))
    write(project, MODELS.replace('"team/chat:prod"', '{ref = "team/chat:prod", profiles = ["ci"]}'))
    done(llstore("sync"))
    assert [line[:5] for line in done(llstore("sync", "--profile", "legal")).splitlines()] == ["terms"]
    assert len(done(llstore("sync", "--profile", "legal", "--profile", "ci")).splitlines()) == 2
    refused(llstore("sync", "--profile", "c1"), 2, "no model in llstore.lock has the profile c1", "ci, legal")


def test_sync_brings_the_lock_up_to_the_toml_and_says_so(llstore: Command, project: Path) -> None:
    first = llstore("sync")
    assert first.stderr.count("llstore.lock: added") == 2
    lock = (project / "llstore.lock").read_bytes()
    move(project)
    still = llstore("sync")
    assert (still.stderr, (project / "llstore.lock").read_bytes()) == ("", lock), "a moved name moves no lock"
    write(project, '[models]\nchat = "team/chat:prod"\nnew = "team/terms"\n')
    changed = llstore("sync")
    assert [line.split()[2:4] for line in changed.stderr.splitlines()] == [["added", "new"], ["removed", "terms"]]
    assert lock.decode().partition("[[model]]")[2].partition("[[model]]")[0] in (project / "llstore.lock").read_text()


def test_frozen_never_writes_and_refuses_a_toml_that_says_otherwise(llstore: Command, project: Path) -> None:
    done(llstore("lock"))
    lock = (project / "llstore.lock").read_bytes()
    write(project, MODELS.replace(":prod", ":dev") + 'new = "team/new"\n')
    refused(llstore("sync", "--frozen"), 8, "chat: llstore.toml says team/chat:dev", "and 1 more", "llstore lock")
    write(project, MODELS.replace('["legal"]', '["court"]'))
    refused(llstore("sync", "--frozen"), 8, "terms: llstore.toml says profiles court, llstore.lock legal")
    assert (project / "llstore.lock").read_bytes() == lock
    assert llstore("lock", "--check").returncode == 8


def test_check_passes_until_something_is_wrong(llstore: Command, project: Path) -> None:
    done(llstore("lock"))
    assert done(llstore("lock", "--check", "--current")) == ""
    old, new = re.findall(r'^digest = "(.*)"', (project / "llstore.lock").read_text(), re.M)[0], move(project)
    assert done(llstore("lock", "--check")) == ""
    moved = llstore("lock", "--check", "--current")
    assert moved.returncode == 8
    assert moved.stdout == f"chat: team/chat:prod moved from {old} to {new}; llstore lock chat takes it over\n"
    away = llstore("lock", "--check", "--current", "--json", LLSTORE_OFFLINE="1")
    document = json.loads(away.stdout)
    assert (document["holds"], [one["kind"] for one in document["findings"]]) == (False, ["moved"])
    assert "offline" in away.stderr


def test_the_key_is_of_bytes_and_not_of_words(llstore: Command, project: Path) -> None:
    done(llstore("lock"))
    key = done(llstore("ci", "key"))
    assert re.fullmatch(r"llstore-v1-[0-9a-f]{32}\n", key)
    assert key.startswith(done(llstore("ci", "key", "--prefix")).strip())
    assert json.loads(done(llstore("ci", "key", "--json")))["key"] == key.strip()
    lock = project / "llstore.lock"
    lock.write_text("# another comment\n" + lock.read_text().replace('"team/chat:prod"', '"team/other"'))
    assert done(llstore("ci", "key")) == key
    move(project)
    done(llstore("lock"))
    assert done(llstore("ci", "key")) != key


def test_a_sync_lists_nothing_and_a_warm_one_asks_nothing(
    llstore: Command, project: Path, bucket: str, seaweed: SeaweedFS, tiny: Path
) -> None:
    write(project, '[models]\nchat = "team/chat:prod"\n')
    done(llstore("put", tiny, "--name", "team/chat:prod", "--store", bucket))
    done(llstore("lock", "--store", bucket))
    with faulty(seaweed.endpoint) as proxy:
        url = bucket.replace(urlsplit(seaweed.endpoint).netloc, proxy.netloc)
        fresh = {"LLSTORE_HOME": str(project / "fresh"), "LLSTORE_STORE": url}
        done(llstore("sync", "--frozen", **fresh))
        done(llstore("lock", "--check", **fresh))
        assert proxy.count(method="GET", path="blobs/")
        assert not proxy.count(path="list-type")
        assert not proxy.count(path="journal")
        proxy.log.clear()
        done(llstore("sync", "--frozen", **fresh))
        assert not proxy.log
    assert "chat\t" in done(llstore("sync", "--frozen", "--offline", **fresh))


def test_a_lock_that_is_absent(llstore: Command, project: Path) -> None:
    for words in (["sync", "--frozen"], ["lock", "--check"], ["ci", "key"]):
        refused(llstore(*words), 3, "no ", "llstore.lock", "llstore lock makes it")


def test_a_lock_edited_by_hand(llstore: Command, project: Path, tmp_path: Path) -> None:
    done(llstore("lock"))
    lock = project / "llstore.lock"
    text = lock.read_text()
    size, digest = (re.findall(rf"^{key} = (.*)$", text, re.M)[0] for key in ("size", "digest"))
    fresh = {"LLSTORE_HOME": str(tmp_path / "fresh")}
    for old, new in ((f"size = {size}\n", "size = 1\n"), (f"digest = {digest}\n", f'digest = "sha256:{"ab" * 32}"\n')):
        lock.write_text(text.replace(old, new, 1))
        for words in (["sync", "--frozen"], ["lock", "chat"]):
            refused(llstore(*words, **fresh), 8, "llstore.lock does not hold: chat: ", "llstore lock makes it anew")
    # All places alike, so that the lock agrees with itself: it is the store that does not.
    lock.write_text(text.replace(size, "270000"))
    refused(llstore("sync", "--frozen", **fresh), 8, "chat: llstore.lock says the size", "270000")
    lock.write_text(text.replace(digest.strip('"'), f"sha256:{'ab' * 32}"))
    refused(llstore("sync", "--frozen", **fresh), 8, f"llstore.lock names chat sha256:{'ab' * 32}", "not in file://")
    again = llstore("lock")
    assert (again.returncode, lock.read_text()) == (0, text)


def test_a_lock_that_a_merge_left_is_made_anew_by_lock_alone(llstore: Command, project: Path) -> None:
    done(llstore("lock"))
    lock = project / "llstore.lock"
    text = lock.read_text()
    lock.write_text(f"<<<<<<< HEAD\n{text}")
    refused(llstore("sync"), 8, "not TOML", "llstore lock makes it anew")
    again = llstore("lock")
    assert (again.returncode, "made anew" in again.stderr, lock.read_text()) == (0, True, text)


def test_a_lock_of_a_newer_version_is_kept(llstore: Command, project: Path) -> None:
    lock = project / "llstore.lock"
    lock.write_text("version = 2\n[[thing]]\nname = 'new'\n")
    for words in (["sync"], ["lock"]):
        refused(llstore(*words), 1, "version 2", "upgrade")
    assert lock.read_text().startswith("version = 2")


def test_a_toml_without_models(llstore: Command, project: Path) -> None:
    write(project, "")
    refused(llstore("lock"), 2, "names no models", "[models]")
    write(project, "[models]\n")
    assert done(llstore("lock")) == ""
    assert done(llstore("sync", "--frozen")) == ""
    (project / "llstore.toml").unlink()
    refused(llstore("sync"), 3, "no llstore.toml in")


def test_a_toml_that_would_switch_off_the_gate(llstore: Command, project: Path) -> None:
    for line in ("check = false", "[gate]\nrefuse = false", "[cache]\nmax_bytes = 1"):
        (project / "llstore.toml").write_text(f"{line}\n{MODELS}")
        refused(llstore("sync"), 2, "may not set", "it may set models, store")
    write(project, '[models]\nchat = {ref = "team/chat:prod", unsafe = true}\n')
    refused(llstore("sync"), 2, "chat may not set unsafe")


def test_a_name_that_is_unknown(llstore: Command, project: Path) -> None:
    done(llstore("lock"))
    lock = (project / "llstore.lock").read_bytes()
    write(project, '[models]\nchat = "team/chat:prob"\n')
    refused(llstore("lock"), 3, "no model team/chat:prob", "did you mean team/chat:prod?")
    refused(llstore("sync"), 3, "no model team/chat:prob")
    refused(llstore("lock", "chatt"), 2, "llstore.toml has no model chatt")
    write(project, '[models]\nchat = {ref = "team/chat:prod", roles = ["draft"]}\n')
    refused(llstore("lock"), 2, "chat: team/chat:prod has no file of the role draft", "it has weights")
    assert (project / "llstore.lock").read_bytes() == lock


def test_flags_that_do_not_go_together(llstore: Command, project: Path) -> None:
    refused(llstore("lock", "--current"), 2, "--current goes with --check")
    refused(llstore("lock", "--check", "chat"), 2, "leave out the names")


def test_sync_offline_names_what_is_missing(llstore: Command, project: Path, tmp_path: Path) -> None:
    done(llstore("lock"))
    fresh = {"LLSTORE_HOME": str(tmp_path / "fresh")}
    refused(llstore("sync", "--frozen", "--offline", **fresh), 3, "chat sha256:", "not on this machine", "--offline")
    done(llstore("sync", "--frozen", "--profile", "legal", **fresh))
    done(llstore("sync", "--frozen", "--offline", **fresh))
    document = json.loads(llstore("sync", "--frozen", "--json", "--store", "file:///nowhere", "-q", **fresh).stdout)
    assert document["fetched_bytes"] == 0, "what is here needs no store at all"
