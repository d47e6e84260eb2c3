"""Finding and naming models, as a person types it: one line for each mistake, and nothing lost."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mirror import mirror
from shards import write_shards
from tiny import TEMPLATE, write_tiny

from llstore.store import ulid

Command = Callable[..., subprocess.CompletedProcess[str]]
Put = Callable[..., str]


@pytest.fixture
def models(tmp_path: Path, tiny: Path) -> dict[str, Path]:
    """Two small models that differ in their weights, and one that differs from the first in its template."""
    template = TEMPLATE.replace("assistant", "helper")
    return {
        "one": tiny,
        "two": write_tiny(tmp_path / "two.gguf", seed=1),
        "template": write_tiny(tmp_path / "template.gguf", template=template),
    }


@pytest.fixture
def store(put: Put, models: dict[str, Path]) -> dict[str, str]:
    """The embedded store with the three under names; their digests."""
    return {name: put(path, name=f"team/{name}:v1", kind=name) for name, path in models.items()}


def document(answer: subprocess.CompletedProcess[str]) -> Any:
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def listed(llstore: Command, *arguments: str) -> list[str]:
    return [name for model in document(llstore("list", "--json", *arguments))["models"] for name in model["names"]]


def refused(answer: subprocess.CompletedProcess[str], code: int) -> str:
    assert answer.returncode == code, answer.stderr
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    return line


def test_a_list_shows_what_fits_all_that_is_asked_for(llstore: Command, store: dict[str, str]) -> None:
    assert listed(llstore) == ["team/template:v1", "team/two:v1", "team/one:v1"]
    assert listed(llstore, "--sort", "name") == ["team/one:v1", "team/template:v1", "team/two:v1"]
    assert listed(llstore, "--sort", "oldest", "--limit", "1") == ["team/one:v1"]
    assert listed(llstore, "team/t*") == ["team/template:v1", "team/two:v1"]
    assert listed(llstore, "team/one") == listed(llstore, "*/one:v?") == ["team/one:v1"]
    assert listed(llstore, "--label", "kind=two") == ["team/two:v1"]
    assert len(listed(llstore, "--arch", "LLAMA", "--quant", "f16", "--size", "<1MB", "--size", ">1kB")) == 3
    assert listed(llstore, "--size", ">1MB") == listed(llstore, "--arch", "gemma3") == []


@pytest.mark.parametrize(
    "arguments", [("--label", "kind"), ("--label", "=x"), ("--size", "<2XB"), ("--sort", "age"), ("--limit", "0")]
)
def test_a_filter_that_says_nothing_is_a_usage_error(llstore: Command, arguments: tuple[str, ...]) -> None:
    refused(llstore("list", *arguments), 2)


def test_a_name_moves_and_its_history_tells_both_moves(llstore: Command, store: dict[str, str]) -> None:
    moved = document(llstore("tag", store["two"], "team/one:v1", "--json"))
    assert moved == {"name": "team/one:v1", "digest": store["two"], "before": store["one"]}
    entries = document(llstore("log", "team/one:v1", "--json"))["entries"]
    assert [(entry["op"], entry["model"]) for entry in entries] == [("tag", store["two"]), ("tag", store["one"])]
    assert all(ulid.valid(entry["ulid"]) and entry["time"].endswith("+00:00") for entry in entries)
    assert document(llstore("show", "team/one:v1", "--json"))["digest"] == store["two"]


def test_a_name_that_is_taken_away_leaves_the_model_and_its_history(llstore: Command, store: dict[str, str]) -> None:
    assert llstore("untag", "team/one:v1").stdout == f"team/one:v1 pointed to {store['one']}\n"
    refused(llstore("get", "team/one:v1"), 3)
    assert llstore("get", store["one"]).returncode == 0
    log = llstore("log", "team/one:v1").stdout.splitlines()
    assert [line.split()[1] for line in log] == ["untag", "tag"]


def test_an_unknown_name_is_answered_with_near_ones(llstore: Command, store: dict[str, str]) -> None:
    for command in ("get", "show", "untag", "log", "rm"):
        assert "did you mean team/one:v1" in refused(llstore(command, "team/onee:v1"), 3)


def test_labels_and_annotations_are_set_and_taken_away(llstore: Command, store: dict[str, str]) -> None:
    label = ("label", "team/one:v1", "--json")
    done = document(llstore(*label, "stage=prod", "--annotate", "note=a text, with commas", "--source", "hf://a/b"))
    assert done["labels"] == {"kind": "one", "stage": "prod"}
    assert done["annotations"] == {"note": "a text, with commas", "source": "hf://a/b"}
    done = document(llstore(*label, "--remove", "kind", "--remove", "note"))
    assert (done["labels"], done["annotations"]) == ({"stage": "prod"}, {"source": "hf://a/b"})
    assert listed(llstore, "--label", "kind=one") == []
    assert "hf://a/b" in llstore("show", "team/one:v1").stdout
    assert "not a label: 'stage'" in refused(llstore("label", "team/one:v1", "stage"), 2)


def test_a_model_with_other_names_is_removed_only_when_told(llstore: Command, store: dict[str, str]) -> None:
    llstore("tag", store["one"], "team/also")
    assert "is named team/also:latest" in refused(llstore("rm", "team/one:v1"), 1)
    dry = document(llstore("rm", "team/one:v1", "--force", "--dry-run", "--json"))
    assert dry["removed"][0]["names"] == ["team/also:latest", "team/one:v1"]
    assert "team/also:latest" in listed(llstore)
    assert llstore("rm", "team/one:v1", "team/also").returncode == 0
    assert listed(llstore) == ["team/template:v1", "team/two:v1"]
    assert "no model" in refused(llstore("show", "team/also"), 3)


def test_collecting_frees_what_was_removed_and_says_so_before(llstore: Command, store: dict[str, str]) -> None:
    llstore("rm", "team/one:v1")
    assert document(llstore("gc", "--json"))["deleted"] == []
    dry = document(llstore("gc", "--grace", "0", "--dry-run", "--json"))
    assert len(dry["deleted"]) == 3
    unneeded = document(llstore("df", "--bucket", "--json"))
    assert unneeded["unreferenced_bytes"] == dry["freed_bytes"]
    done = document(llstore("gc", "--grace", "0", "--json"))
    assert done["deleted"] == dry["deleted"]
    assert document(llstore("df", "--bucket", "--json"))["unreferenced_bytes"] == 0
    assert llstore("get", "team/two:v1").returncode == 0
    refused(llstore("gc", "--grace", "soon"), 2)


def test_a_model_removed_by_mistake_comes_back_by_putting_it_again(
    llstore: Command, store: dict[str, str], models: dict[str, Path]
) -> None:
    llstore("rm", "team/one:v1")
    assert llstore("put", models["one"]).returncode == 0
    assert document(llstore("list", "--json", "--limit", "1"))["models"][0]["digest"] == store["one"]


def test_two_models_are_told_apart(llstore: Command, store: dict[str, str]) -> None:
    same = document(llstore("diff", "team/one:v1", store["one"], "--json", "--exit-code"))
    assert (same["same"], same["summary"]) == (True, "same weights, same header")
    changed = llstore("diff", "team/one:v1", "team/template:v1", "--exit-code")
    assert changed.returncode == 1
    assert changed.stdout.startswith("same weights, template changed\n")
    assert "+" in changed.stdout
    other = document(llstore("diff", "team/one:v1", "team/two:v1", "--json"))
    assert other["same_weights"] is False
    assert "output.weight" in other["tensors"]


def test_show_tells_header_tensors_template_and_memory(llstore: Command, store: dict[str, str]) -> None:
    found = document(llstore("show", "team/one:v1", "--json", "--header", "--tensors"))
    assert found["header"]["general.architecture"] == "llama"
    assert found["header"]["tokenizer.ggml.tokens"]["length"] == 261
    norm = {"name": "output_norm.weight", "shape": [64], "type": "F16", "size": 128}
    assert norm in found["tensors"] or norm | {"type": "F32", "size": 256} in found["tensors"]
    assert found["template"] == TEMPLATE
    assert list(found["memory"]) == ["512"]
    assert found["memory"]["512"] > found["size"]
    assert llstore("show", "team/one:v1", "--template").stdout == TEMPLATE + "\n"
    assert "output.weight" in llstore("show", "team/one:v1", "--tensors").stdout


def test_shards_are_put_and_run_as_one_model(llstore: Command, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    write_shards(tiny, 3, folder)
    put = document(llstore("put", folder, "--name", "team/split", "--json"))
    whole = document(llstore("put", tiny, "--json"))
    ask = ("-p", "hello", "--max-tokens", "8", "--temperature", "0", "--json")
    split = document(llstore("run", "team/split", *ask))
    assert split["digest"] == put["digest"]
    assert split["text"] == document(llstore("run", whole["digest"], *ask))["text"]
    got = document(llstore("get", "team/split", "--json"))
    assert [file["role"] for file in got["files"]] == ["shard"] * 3
    sorted(folder.iterdir())[1].unlink()
    assert "of these 2 is not there" in refused(llstore("put", folder), 7)


def test_a_model_of_many_files_is_written_into_a_folder(llstore: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    write_shards(tiny, 3, tmp_path / "shards")
    (tmp_path / "shards/LICENSE").write_text("free")
    llstore("put", tmp_path / "shards", "--name", "team/split")
    got = document(llstore("get", "team/split", "-o", tmp_path / "out", "--json"))
    names = [f"out-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*names, "out-license.txt"])
    assert got["path"] == str(tmp_path / "out" / names[0])
    originals = sorted((tmp_path / "shards").glob("*.gguf"))
    for name, original in zip(names, originals, strict=True):
        assert (tmp_path / "out" / name).read_bytes() == original.read_bytes()
    assert "exists and was kept" in refused(llstore("get", "team/split", "-o", tmp_path / "out"), 1)
    assert llstore("get", "team/split", "-o", tmp_path / "out", "--force", "--link").returncode == 0
    assert "is a file" in refused(llstore("get", "team/split", "-o", originals[0]), 1)
    assert "the first of 4 files" in llstore("get", "team/split").stderr


def test_a_model_that_does_not_fit_evicts_nothing(
    llstore: Command, models: dict[str, Path], tiny: Path, bucket: str, tmp_path: Path
) -> None:
    online = {"LLSTORE_STORE": bucket}
    big = document(llstore("put", models["one"], models["two"], "--role", "draft=two*", "--json", **online))["digest"]
    small = document(llstore("put", models["template"], "--json", **online))["digest"]
    machine = {**online, "LLSTORE_HOME": str(tmp_path / "small"), "LLSTORE_CACHE_MAX_BYTES": "500KB"}
    assert llstore("get", small, **machine).returncode == 0
    assert "no room for" in refused(llstore("get", big, **machine), 6)
    assert [blob["digest"] for blob in document(llstore("cache", "list", "--json", **machine))["blobs"]] == [small]


def test_by_full_digest_show_and_run_ask_for_no_list(llstore: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    digest = llstore("put", tiny, "--name", "team/one", LLSTORE_STORE=(tmp_path / "www").as_uri()).stdout.strip()
    with mirror(tmp_path / "www") as server:
        fresh = {"LLSTORE_STORE": server.url, "LLSTORE_HOME": str(tmp_path / "fresh")}
        assert document(llstore("show", digest, "--json", **fresh))["architecture"] == "llama"
        assert llstore("run", digest, "-p", "hello", "--max-tokens", "2", **fresh).returncode == 0
        paths = [path for _, path in server.requests]
    # Nothing but what the digest itself names, and the file that tells the bucket's format.
    hexdigits = digest.removeprefix("sha256:")
    assert paths
    assert all(path.endswith((hexdigits, "llstore.json")) for path in paths), paths


def test_roles_are_told_by_file(llstore: Command, models: dict[str, Path]) -> None:
    put = llstore("put", models["one"], models["two"], "--role", "draft=two*", "--json")
    got = document(llstore("get", document(put)["digest"], "--json"))
    assert [file["role"] for file in got["files"]] == ["weights", "draft"]
    refused(llstore("put", models["one"], "--role", "wights"), 2)


def test_the_catalog_is_made_anew_from_the_journal(llstore: Command, store: dict[str, str]) -> None:
    before = llstore("list").stdout
    assert document(llstore("reindex", "--json"))["models"] == 3
    assert llstore("list").stdout == before
