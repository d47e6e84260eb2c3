"""The flags of an engine, `show --fit` and `tune`, as a person types them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf_bytes import u32
from sound import Sound

Command = Callable[..., subprocess.CompletedProcess[str]]
Put = Callable[..., str]

ASK = ("-p", "hello", "--raw", "--temperature", "0", "--max-tokens", "4")


@pytest.fixture
def model(put: Put, tiny: Path) -> str:
    """The tiny model in the embedded store."""
    return put(tiny, name="t/tiny")


@pytest.fixture
def endless(put: Put, tmp_path: Path) -> str:
    """A small model that was trained for so long a context that no machine has room for it."""
    file = Sound().with_keys(llama__context_length=u32("llama.context_length", 2_000_000_000))
    (tmp_path / "endless.gguf").write_bytes(file.encode())
    return put(tmp_path / "endless.gguf")


def document(answer: subprocess.CompletedProcess[str]) -> Any:
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def refused(answer: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    assert answer.returncode == code, answer.stderr
    (line,) = answer.stderr.splitlines()
    assert all(word in line for word in said), line


def test_run_takes_the_flags_and_records_what_they_mean(llstore: Command, model: str, tmp_path: Path) -> None:
    flags = ("--ctx", "300", "--flash-attn", "on", "--threads", "1", "--batch-size", "64", "--no-repack")
    made = llstore("run", model, *ASK, *flags, "--kv-type", "bf16", "--receipt", "made.json")
    assert made.returncode == 0, made.stderr
    engine = json.loads((tmp_path / "made.json").read_text())["engine"]
    assert (engine["context_size"], engine["threads"], engine["batch_size"]) == (300, 1, 64)
    assert (engine["flash_attention"], engine["repack"]) == (True, False)
    assert (engine["key_type"], engine["value_type"]) == ("bf16", "bf16")
    assert llstore("replay", "made.json").returncode == 0


def test_run_without_flags_is_as_it_was(llstore: Command, model: str, tmp_path: Path) -> None:
    assert llstore("run", model, *ASK, "--receipt", "made.json").returncode == 0
    engine = json.loads((tmp_path / "made.json").read_text())["engine"]
    assert (engine["context_size"], engine["parallel"], engine["batch_size"]) == (256, 1, 512)
    assert (engine["flash_attention"], engine["repack"], engine["key_type"]) == (False, True, "f16")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--ctx", "513"), ("trained for 512",)),
        (("--ctx", "0"), ("from 1 to",)),
        (("--threads", "100000"), ("threads is 100000",)),
        (("--kv-type", "q8_0"), ("packs 32 numbers", "heads of this model have 16")),
        (("--kv-type", "q9"), ("must be one of", "f16")),
        (("--split", "column"), ("must be one of", "layer")),
        (("--batch-size", "0"), ("from 1 to",)),
        (("--flash-attn", "perhaps"), ("'on', 'off', 'auto'",)),
        (("--parallel", "2"), ("--parallel",)),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    llstore: Command, model: str, flags: tuple[str, ...], said: tuple[str, ...]
) -> None:
    refused(llstore("run", model, *ASK, *flags), 2, *said)


def test_a_context_that_does_not_fit_is_refused_before_loading(llstore: Command, endless: str) -> None:
    refused(llstore("run", endless, *ASK, "--ctx", "2000000000"), 6, "2000000000 tokens", "GB", "--ctx ")
    failed = llstore("run", endless, *ASK, "--ctx", "2000000000", "--json")
    assert json.loads(failed.stdout)["error"]["kind"] == "no_room"


def test_an_answer_that_does_not_fit_is_refused_with_how_long_it_may_be(llstore: Command, endless: str) -> None:
    asked = ("-p", "hello", "--raw", "--max-tokens", "1900000000")
    refused(llstore("run", endless, *asked), 6, "memory has room for", "--max-tokens ")


def test_fit_shows_what_fits_where(llstore: Command, model: str, endless: str) -> None:
    found = document(llstore("show", model, "--fit", "--json"))
    assert set(found) == {"machine", "fit"}
    assert {row["kv_type"] for row in found["fit"]} == {"f16"}  # its heads are too narrow for others
    assert [(row["context"], row["parallel"]) for row in found["fit"]] == [(512, 1), (512, 16)]
    assert all(row["where"] in ("host", "gpu") for row in found["fit"])
    assert found["fit"][0]["memory"] < found["fit"][1]["memory"]
    table = llstore("show", endless, "--fit").stdout
    assert "2000000000" in table
    assert "too much" in table


def test_fit_of_one_context_and_type(llstore: Command, model: str) -> None:
    flags = ("--ctx", "100", "--parallel", "3", "--kv-type", "f32")
    (row,) = document(llstore("show", model, "--fit", *flags, "--json"))["fit"]
    assert (row["context"], row["parallel"], row["kv_type"]) == (100, 3, "f32")
    refused(llstore("show", model, "--fit", "--ctx", "513"), 2, "trained for 512")
    refused(llstore("show", model, "--fit", "--kv-type", "q4_0"), 2, "packs 32")
    refused(llstore("show", model, "--ctx", "100"), 2, "--fit")


def test_fit_of_a_model_that_is_not_here(llstore: Command, tiny: Path, bucket: str, home: Path, tmp_path: Path) -> None:
    digest = llstore("put", tiny, "--store", bucket).stdout.strip()
    elsewhere = {"LLSTORE_HOME": str(tmp_path / "elsewhere")}
    assert document(llstore("show", digest, "--fit", "--json", "--store", bucket, **elsewhere))["fit"]
    assert not document(llstore("show", digest, "--json", "--store", bucket, **elsewhere))["cached"]


def test_a_tuned_model_is_shown_used_and_forgotten(llstore: Command, model: str, home: Path, tmp_path: Path) -> None:
    refused(llstore("tune", model, "--show"), 3, "was not tuned")
    flags = ("--seconds", "1", "--parallel", "2", "--ctx", "128")
    tuned = document(llstore("tune", model, *flags, "--json", "--quiet"))["tuned"]
    assert set(tuned["steps"]) == {"1", "2"}
    assert document(llstore("tune", model, "--show", "--json"))["tuned"] == tuned
    assert f"tuned on {tuned['date']}, 2 in parallel" in llstore("tune", model, "--show").stdout
    file = home / "data/tuned.json"
    # As if one thread had been faster, and other settings that would change a text.
    said = json.loads(file.read_text())
    (machine,) = said["machines"].values()
    machine["models"][model]["settings"] = {"threads": 1, "flash_attention": False, "repack": False}
    file.write_text(json.dumps(said))
    assert llstore("run", model, *ASK, "--receipt", "made.json").returncode == 0
    engine = json.loads((tmp_path / "made.json").read_text())["engine"]
    assert (engine["threads"], engine["repack"]) == (1, True)
    assert llstore("tune", model, "--forget").returncode == 0
    assert "was not tuned" in llstore("tune", model, "--show").stderr


def test_tune_measures_no_more_than_it_is_told_to(llstore: Command, model: str) -> None:
    fixed = ("--threads", "1", "--batch-size", "64", "--no-repack", "--kv-split", "--flash-attn", "on")
    found = document(llstore("tune", model, "--seconds", "1", "--ctx", "128", "--parallel", "1", *fixed, "--json"))
    assert found["tuned"]["settings"] == {}
    refused(llstore("tune", model, "--show", "--forget"), 2, "two things")


def test_a_project_does_not_move_the_figures(llstore: Command, model: str, tmp_path: Path) -> None:
    (tmp_path / "llstore.toml").write_text('data = "/somewhere/else"\n')
    refused(llstore("tune", model, "--show"), 2, "may not set data")
