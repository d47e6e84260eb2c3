"""A build of llama.cpp that dies is found out before a model is loaded: its fault is switched off, or it is refused."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import dying_llama
import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(bool(dying_llama.unavailable()), reason=dying_llama.unavailable() or "-")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the dying libraries lie."""
    return tmp_path_factory.mktemp("dying")


@pytest.fixture
def repacked(llstore: Command, folder: Path) -> Command:
    """The command, with a build that dies wherever weights are repacked and a prompt has two tokens."""
    environment = dying_llama.environment(folder, only_repacked=True)
    return lambda *arguments, **more: llstore(*arguments, **environment, **more)


@pytest.fixture
def always(llstore: Command, folder: Path) -> Command:
    """The command, with a build that dies at every prompt."""
    environment = dying_llama.environment(folder)
    return lambda *arguments, **more: llstore(*arguments, **environment, **more)


def test_a_build_that_dies_with_repacked_weights_answers_without_them_and_says_so_once(
    repacked: Command, tiny: Path, tmp_path: Path
) -> None:
    repacked("put", tiny, "--name", "t/t")
    first = repacked("run", "t/t", "-p", "Once upon", "--max-tokens", "4", "--receipt", "r.json")
    assert first.returncode == 0
    (line,) = first.stderr.splitlines()
    assert "SIGSEGV with F16 weights" in line
    assert "repacking is off" in line
    assert json.loads((tmp_path / "r.json").read_text())["build"]["switched_off"] == ["repack"]
    again = repacked("run", "t/t", "-p", "Once upon", "--max-tokens", "4")
    assert (again.returncode, again.stderr) == (0, "")


def test_a_receipt_of_a_sound_build_is_replayed_without_what_kills_this_one(
    llstore: Command, repacked: Command, tiny: Path
) -> None:
    llstore("put", tiny, "--name", "t/t")
    sampling = ("--max-tokens", "4", "--temperature", "0")
    assert llstore("run", "t/t", "-p", "Once upon", *sampling, "--receipt", "r.json").returncode == 0
    again = repacked("replay", "r.json")
    assert again.returncode in (0, 1)  # without repacking the last bits of logits may differ
    assert "repacking is off" in again.stderr


def test_a_batch_is_answered_without_what_kills_the_build(repacked: Command, tiny: Path, tmp_path: Path) -> None:
    repacked("put", tiny, "--name", "t/t")
    (tmp_path / "in.jsonl").write_text('{"prompt": "Once upon", "max_tokens": 2}\n' * 20)
    ran = repacked("batch", "t/t", "-i", "in.jsonl", "-o", "out.jsonl")
    assert ran.returncode == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 20
    assert len([line for line in ran.stderr.splitlines() if "repacking is off" in line]) == 1


def test_doctor_shows_what_is_switched_off_and_the_demo_works_without_it(repacked: Command) -> None:
    facts = json.loads(repacked("doctor", "--json").stdout)["runner"]
    assert facts["ready"] is True
    (switched_off,) = facts["switched_off"]
    assert switched_off.startswith("repack for F16 ")
    demo = repacked("demo", "--quick")
    assert demo.returncode == 0
    assert "work, with repack switched off" in demo.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "t/t", "-p", "Once upon"),
        ("batch", "t/t", "-i", "in.jsonl", "-o", "-"),
        ("bench", "t/t", "--pp", "16", "--tg", "4"),
        ("tune", "t/t"),
        ("serve", "t/t", "--port", "0"),
        ("demo", "--quick"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_build_that_always_dies_is_refused_in_one_line(
    always: Command, tiny: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    always("put", tiny, "--name", "t/t")
    (tmp_path / "in.jsonl").write_text('{"prompt": "Once upon"}\n' * 20)
    ran = always(*arguments)
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert "fails on this processor: SIGSEGV with" in line


def test_doctor_calls_a_build_that_always_dies_not_ready(always: Command) -> None:
    ran = always("doctor", "--json")
    assert ran.returncode == 1
    facts = json.loads(ran.stdout)["runner"]
    assert facts["ready"] is False
    assert "SIGSEGV with F16" in facts["reason"]
