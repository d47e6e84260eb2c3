"""`llstore check`, and `llstore run`'s refusal of what does not pass."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf_bytes import u32, words
from sound import Sound

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """Two things are wrong with it, and each would end llama.cpp's process."""
    file = Sound().with_keys(
        llama__block_count=u32("llama.block_count", 0), s=words("llama.rope.scaling.type", "cubic\n")
    )
    file.with_tensor("blk.0.attn_q.weight", (32, 32), kind=9)
    (tmp_path / "wrong.gguf").write_bytes(file.encode())
    return tmp_path / "wrong.gguf"


def test_a_sound_file_is_safe(llstore: Command, tiny: Path) -> None:
    found = llstore("check", tiny, "--json")
    assert found.returncode == 0
    assert json.loads(found.stdout) == {
        "file": str(tiny),
        "safe": True,
        "problems": [],
        "template": "linted",
        "checker": 1,
    }
    said = llstore("check", tiny)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "llstore: tiny.gguf is safe to load\n")


def test_each_problem_is_a_line(llstore: Command, wrong: Path) -> None:
    said = llstore("check", wrong)
    assert (said.returncode, said.stderr) == (7, "")
    lines = said.stdout.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["tensor-type", "block-count"]
    found = llstore("check", wrong, "--json")
    assert found.returncode == 7
    document = json.loads(found.stdout)
    assert document["safe"] is False
    assert [set(problem) for problem in document["problems"]] == [{"code", "detail"}] * 2


@pytest.mark.parametrize("data", [b"", b"text", b"GGUF\3\0\0\0" + bytes(100), b"GGUF\0\0\0\3" + bytes(100)])
def test_what_is_no_gguf_is_unsafe(llstore: Command, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    said = llstore("check", "file")
    assert (said.returncode, len(said.stdout.splitlines())) == (7, 1)


def test_a_model_in_the_store_is_checked_file_by_file(llstore: Command, wrong: Path, bucket: str) -> None:
    digest = llstore("put", wrong, "--name", "t/wrong", "--store", bucket).stdout.strip()
    found = llstore("check", "t/wrong", "--json", "--store", bucket)
    assert found.returncode == 7
    document = json.loads(found.stdout)
    assert set(document) == {"digest", "safe", "problems", "files"}
    assert (document["digest"], document["safe"]) == (digest, False)
    (file,) = document["files"]
    assert (file["role"], file["digest"], file["problems"]) == ("weights", digest, document["problems"])
    # Fetched and judged: neither is done again.
    offline = llstore("check", digest, "--offline", "--store", bucket)
    assert (offline.returncode, len(offline.stdout.splitlines())) == (7, 2)


def test_run_refuses_what_does_not_pass_unless_told_otherwise(llstore: Command, wrong: Path) -> None:
    digest = llstore("put", wrong).stdout.strip()
    refusal = llstore("run", digest, "-p", "hi")
    assert (refusal.returncode, len(refusal.stderr.splitlines()), refusal.stdout) == (7, 1, "")
    for word in (digest, "type Q8_1", "llstore check", "--unchecked"):
        assert word in refusal.stderr
    as_json = llstore("run", digest, "-p", "hi", "--json")
    assert json.loads(as_json.stdout)["error"]["code"] == 7
    unchecked = llstore("run", digest, "-p", "hi", "--unchecked")
    # llama.cpp ends the process: that is what the gate is for.
    assert unchecked.returncode == 1
    (line,) = unchecked.stderr.splitlines()
    assert "llama.cpp died (SIGABRT" in line


def test_what_does_not_pass_is_not_served(llstore: Command, wrong: Path) -> None:
    digest = llstore("put", wrong).stdout.strip()
    refusal = llstore("serve", digest, "--port", "0")
    assert (refusal.returncode, len(refusal.stderr.splitlines()), refusal.stdout) == (7, 1, "")
    assert digest in refusal.stderr


def test_a_batch_of_what_does_not_pass_is_not_begun(llstore: Command, wrong: Path, tmp_path: Path) -> None:
    llstore("put", wrong, "--name", "t/wrong")
    (tmp_path / "in.jsonl").write_text('{"prompt": "hi"}\n')
    refusal = llstore("batch", "t/wrong", "-i", "in.jsonl", "-o", "out.jsonl")
    assert (refusal.returncode, len(refusal.stderr.splitlines()), refusal.stdout) == (7, 1, "")
    assert "--unchecked" in refusal.stderr
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("line", ["gate = false", "unchecked = true", "[gate]\nenabled = false"])
def test_a_project_cannot_switch_the_gate_off(llstore: Command, tmp_path: Path, line: str) -> None:
    (tmp_path / "llstore.toml").write_text(line + "\n")
    refusal = llstore("list")
    assert (refusal.returncode, len(refusal.stderr.splitlines())) == (2, 1)
    assert "llstore.toml may not set" in refusal.stderr


def test_what_is_not_there_is_not_found(llstore: Command, tmp_path: Path) -> None:
    for what in ("absent.gguf", tmp_path / "absent", "team/absent", "ab" * 32):
        refusal = llstore("check", what)
        assert (refusal.returncode, len(refusal.stderr.splitlines())) == (3, 1), refusal.stderr
    assert llstore("check", tmp_path).returncode == 1
    assert llstore("check", "odd").returncode == 2


def test_what_is_no_gguf_in_the_store_cannot_be_checked(llstore: Command, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("text")
    digest = llstore("put", tmp_path / "note.txt", "--role", "other").stdout.strip()
    refusal = llstore("check", digest)
    assert (refusal.returncode, len(refusal.stderr.splitlines())) == (7, 1)
    assert "no GGUF" in refusal.stderr
