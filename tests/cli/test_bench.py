"""`llstore bench`: every section of a small run, as tables, data and pictures."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf_bytes import u32
from sound import Sound

Command = Callable[..., subprocess.CompletedProcess[str]]
Put = Callable[..., str]

FIXTURES = Path(__file__).parents[2] / "fixtures"
ALONE = ("--pp", "16", "--tg", "8", "--repeats", "2", "--npl", "1,4", "--npp", "8", "--ntg", "4")
LOADS = ("--concurrency", "2", "--rate", "20", "--seconds", "0.3", "--prompt-tokens", "4-16", "--max-tokens", "2-8")
SMALL = (*ALONE, *LOADS, "--parallel", "4", "--threads", "1")

PRINTED = """echo '[{"n_prompt": 16, "n_gen": 0, "samples_ts": [10.0, 12.0]},'
echo '{"n_prompt": 0, "n_gen": 8, "samples_ts": [5.0, 5.0]}]'"""
PRINTED_BATCHED = """while [ "$1" != -npl ]; do shift; done
printf '{"pp": 8, "tg": 4, "pl": %s, "t_pp": 0.5, "t_tg": 0.25, "t": 0.75}\\n' "$2\""""


@pytest.fixture
def model(put: Put, tiny: Path) -> str:
    """The tiny model, stored."""
    put(tiny, name="t/tiny")
    return "t/tiny"


@pytest.fixture
def peers(tmp_path: Path) -> Path:
    """A folder of programs that print what llama.cpp's print."""
    folder = tmp_path / "peers"
    folder.mkdir()
    scripts = {
        "llama-bench": PRINTED,
        "llama-batched-bench": PRINTED_BATCHED,
        "llama-server": f'exec {sys.executable} {FIXTURES / "completions.py"} "$@"',
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def document(llstore: Command, *words: str | Path, **environment: str) -> dict[str, Any]:
    ran = llstore("bench", *words, "--json", **environment)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_a_run_measures_every_section(llstore: Command, model: str) -> None:
    found = document(llstore, model, *SMALL, "--limit", "ttft=60s")
    assert [(one["engine"], one["test"], len(one["samples"])) for one in found["speed"]] == [
        ("llstore", "pp16", 2),
        ("llstore", "tg8", 2),
    ]
    assert all(sample > 0 for one in found["speed"] for sample in one["samples"])
    assert [(one["parallel"], one["prompt_tokens"], one["generated_tokens"]) for one in found["batched"]] == [
        (1, 8, 4),
        (4, 8, 4),
    ]
    for one in found["batched"]:
        whole = one["parallel"] * 12 / one["speed"]
        assert whole >= one["parallel"] * 8 / one["prompt_speed"]
        assert 0 < one["own_time"] < 1
    (closed,) = found["closed"]
    (open_,) = found["open"]
    for load in (closed, open_):
        assert load["requests"] > 0
        assert load["failed"] == 0
        assert 0 < load["ttft"]["p50"] <= load["ttft"]["p95"] <= load["ttft"]["p99"] <= load["request"]["p99"]
        assert load["good_requests_per_second"] == load["requests_per_second"]
    assert (closed["concurrency"], open_["rate"]) == (2, 20)
    assert found["limits"] == {"ttft": 60}
    assert (found["engine"]["parallel"], found["engine"]["threads"]) == (4, 1)


def test_people_get_tables(llstore: Command, model: str) -> None:
    ran = llstore("bench", model, *SMALL, "--limit", "itl=1ms")
    assert ran.returncode == 0, ran.stderr
    for words in ("one request", "pp16", "tg8", "OWN TIME", "closed loop", "open loop", "GOOD REQ/S", "itl=1ms"):
        assert words in ran.stdout
    assert "1 of 1" in ran.stderr


def test_sections_can_be_left_out(llstore: Command, model: str) -> None:
    found = document(llstore, model, *ALONE, "--npl", "0", "--concurrency", "0", "--rate", "0", "--quiet")
    assert (found["batched"], found["closed"], found["open"]) == ([], [], [])


def test_peers_are_measured_beside_us(llstore: Command, model: str, peers: Path) -> None:
    found = document(llstore, model, *SMALL, "--rounds", "2", LLSTORE_PEERS=str(peers))
    for section in ("speed", "batched", "closed", "open"):
        assert {one["engine"] for one in found[section]} == {"llstore", "llama.cpp"}
    theirs = next(one for one in found["speed"] if one["engine"] == "llama.cpp")
    assert theirs["samples"] == [10, 12, 10, 12]
    assert [one["generated_speed"] for one in found["batched"] if one["engine"] == "llama.cpp"] == [16, 16, 64, 64]
    assert all(one["failed"] == 0 for one in found["closed"] + found["open"])


def test_a_picture_of_it(llstore: Command, model: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ran = llstore("bench", model, *SMALL, "--plot", "a.png", "--quiet")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_a_picture_of_no_known_kind_is_refused_at_once(llstore: Command) -> None:
    pytest.importorskip("matplotlib")
    ran = llstore("bench", "no/such", "--plot", "a.docx")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "docx" in ran.stderr
    assert "png" in ran.stderr


def test_without_matplotlib_the_extra_is_named(llstore: Command, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/matplotlib.py").write_text("raise ImportError('no matplotlib')\n")
    path = os.pathsep.join([str(tmp_path / "bare"), *filter(None, [os.environ.get("PYTHONPATH")])])
    ran = llstore("bench", "no/such", "--plot", "a.png", PYTHONPATH=path)
    assert ran.returncode == 1
    assert "pip install 'llstore[plot]'" in ran.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--limit", "ttft=soon"), "limit"),
        (("--prompt-tokens", "9-3"), "range of tokens"),
        (("--npl", "1,x"), "--npl"),
        (("--concurrency", "-1"), "--concurrency"),
        (("--rate", "inf"), "rate"),
        (("--seconds", "nan"), "seconds"),
        (("--plot", "no/such/folder/a.png"), "folder"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(llstore: Command, words: tuple[str, ...], said: str) -> None:
    if words[0] == "--plot":
        pytest.importorskip("matplotlib")
    ran = llstore("bench", "no/such", *words)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr


def test_a_folder_without_the_programs_is_no_peer(llstore: Command, tmp_path: Path) -> None:
    ran = llstore("bench", "no/such", "--peers", tmp_path)
    assert ran.returncode == 1
    assert "llama-bench does not exist" in ran.stderr


def test_no_test_is_longer_than_what_the_model_was_trained_for(llstore: Command, model: str) -> None:
    ran = llstore("bench", model, *SMALL, "--pp", "510", "--tg", "3")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--pp and --tg are 513 tokens together; the model was trained for 512" in ran.stderr


def test_a_model_that_computes_nan_has_no_speed(llstore: Command, tiny: Path, tmp_path: Path) -> None:
    data = bytearray(tiny.read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    (tmp_path / "nan.gguf").write_bytes(data)
    llstore("put", "nan.gguf", "--name", "t/nan")
    ran = llstore("bench", "t/nan", *SMALL)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "NaN" in ran.stderr


def test_a_model_that_the_gate_refuses_is_not_measured(llstore: Command, tmp_path: Path) -> None:
    wrong = Sound().with_keys(llama__block_count=u32("llama.block_count", 0))
    (tmp_path / "wrong.gguf").write_bytes(wrong.encode())
    llstore("put", "wrong.gguf", "--name", "t/wrong")
    ran = llstore("bench", "t/wrong", *SMALL)
    assert (ran.returncode, ran.stdout) == (7, "")
    assert "--unchecked" in ran.stderr
