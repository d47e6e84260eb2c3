"""`run --receipt` and `replay`: CI's proof that a pinned model still answers the same."""

import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shards import write_shards
from tiny import TEMPLATE, write_tiny

Command = Callable[..., subprocess.CompletedProcess[str]]


def command(home: Path, *words: str | Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "llstore.cli", *map(str, words)],
        env={**os.environ, "LLSTORE_HOME": str(home)},
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One machine for all tests here."""
    return tmp_path_factory.mktemp("machine") / "home"


@pytest.fixture(scope="module")
def model(home: Path, tiny: Path) -> str:
    """The tiny model, stored."""
    command(home, "put", tiny, "--name", "t/tiny")
    return "t/tiny"


@pytest.fixture(scope="module")
def recorded(home: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The receipt of an answer of 12 tokens."""
    path = tmp_path_factory.mktemp("recorded") / "receipt.json"
    command(home, "run", model, "-p", "Hello", "--max-tokens", "12", "--receipt", path)
    return path.read_text()


@pytest.fixture
def receipt(recorded: str, tmp_path: Path) -> Path:
    """That receipt, in a file of one's own."""
    path = tmp_path / "receipt.json"
    path.write_text(recorded)
    return path


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The receipt after a change, its digests made to fit again."""
    document = json.loads(path.read_text())
    change(document)
    output, prompt = document["output"], document["prompt"]
    output["tokens_digest"] = digest(struct.pack(f"<{len(output['tokens'])}i", *output["tokens"]))
    if prompt["messages"] is not None:
        text = json.dumps(prompt["messages"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        document["prompt_digest"] = digest(text.encode())
    edited = path.with_name("edited.json")
    edited.write_text(json.dumps(document))
    return edited


def one_line(answer: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert (answer.returncode, answer.stdout) == (code, ""), answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    for word in words:
        assert word in answer.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--temperature", "0"),
        ("--seed", "7", "--temperature", "1.1", "--top-k", "0", "--min-p", "0"),
        (),
        ("--raw",),
        ("--system", "Be brief.", "--max-tokens", "1"),
        ("--system", "", "--max-tokens", "400"),
    ],
    ids=" ".join,
)
def test_an_answer_comes_again(llstore: Command, model: str, tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = tmp_path / "receipt.json"
    limit = () if "--max-tokens" in flags else ("--max-tokens", "16")
    ran = llstore("run", model, "-p", "Grüße <|im_end|> 学校", *flags, *limit, "--receipt", path)
    assert ran.returncode == 0, ran.stderr
    recorded = json.loads(path.read_text())
    # Read as text, every end of a line is "\n".
    assert ran.stdout == re.sub("\r\n?", "\n", recorded["output"]["text"] + "\n")
    again = llstore("replay", path)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == f"same: {len(recorded['output']['tokens'])} tokens\n"


def test_an_answer_that_a_stop_string_ended_comes_again(llstore: Command, model: str, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    ask = ("run", model, "-p", "Hello", "--temperature", "0", "--max-tokens", "24", "--receipt", path, "--json")
    text = json.loads(llstore(*ask).stdout)["text"]
    stop = next(text[n : n + 2] for n in range(4, len(text)) if text[n : n + 2].isascii())
    stopped = json.loads(llstore(*ask, "--stop", stop).stdout)
    assert stopped["text"] == text[: text.index(stop)]
    assert (stopped["finish_reason"], stopped["receipt"]["output"]["finish_reason"]) == ("stop", "stop")
    assert llstore("replay", path).returncode == 0


def test_the_receipt_says_what_produced_the_answer(llstore: Command, model: str, tiny: Path, tmp_path: Path) -> None:
    path, before = tmp_path / "receipt.json", time.time()
    ran = llstore("run", model, "-p", "Hello", "--system", "Be kind.", "--max-tokens", "5", "--receipt", path, "--json")
    document = json.loads(ran.stdout)
    receipt = document["receipt"]
    assert receipt == json.loads(path.read_text())
    assert receipt["model"] == document["digest"] == digest(tiny.read_bytes())
    assert receipt["files"] == [{"role": "weights", "digest": receipt["model"]}]
    assert receipt["manifest"] == json.loads(llstore("put", tiny, "--json").stdout)["manifest"]
    assert receipt["template"] == digest(TEMPLATE.encode())
    assert (receipt["adapters"], receipt["program"]) == ([], None)
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    assert (receipt["prompt"]["messages"], receipt["prompt"]["raw"]) == (turns, None)
    assert receipt["prompt_tokens"] == document["prompt_tokens"]
    assert receipt["sampling"]["seed"] >= 0
    assert receipt["engine"]["context_size"] == 256
    assert receipt["engine"]["threads"] == len(os.sched_getaffinity(0))
    assert receipt["build"]["llama_cpp_python"] == "0.3.36"
    assert len(receipt["output"]["tokens"]) == document["completion_tokens"] == 5
    assert (receipt["output"]["text"], receipt["output"]["finish_reason"]) == (document["text"], "length")
    assert before - 1 <= receipt["created"] <= time.time() + 1


def test_a_raw_prompt_has_no_template_and_no_messages(llstore: Command, model: str, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    llstore("run", model, "-p", "Once", "--raw", "--max-tokens", "2", "--receipt", path)
    receipt = json.loads(path.read_text())
    assert (receipt["template"], receipt["prompt"]) == (None, {"messages": None, "raw": "Once", "clock": None})
    assert receipt["prompt_digest"] == digest(b"Once")


def test_a_prompt_of_bytes_that_are_no_text_comes_again(llstore: Command, model: str, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    ask = ("run", model, "-p", os.fsdecode(b"a\xffb"), "--max-tokens", "4", "--receipt", path)
    assert llstore(*ask).returncode == 0
    assert llstore("replay", path).returncode == 0
    one_line(llstore(*ask, "--stop", os.fsdecode(b"\xff")), 2, "--stop is not UTF-8")


def test_a_template_that_asks_for_the_time_is_told_that_of_the_receipt(llstore: Command, tmp_path: Path) -> None:
    clocked = write_tiny(tmp_path / "clocked.gguf", template="{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }}" + TEMPLATE)
    llstore("put", clocked, "--name", "t/clocked")
    path = tmp_path / "receipt.json"
    llstore("run", "t/clocked", "-p", "Hello", "--max-tokens", "8", "--temperature", "0", "--receipt", path)
    assert llstore("replay", path).stdout == "same: 8 tokens\n"
    other = edit(path, lambda d: d["prompt"].update(clock="2001-02-03T04:05:06.789012"))
    answer = llstore("replay", other)
    assert answer.returncode == 1
    assert answer.stdout.startswith("different prompt: recorded ")


def test_another_token_is_said_with_its_place(llstore: Command, receipt: Path) -> None:
    tokens = json.loads(receipt.read_text())["output"]["tokens"]
    wrong = 65 if tokens[7] != 65 else 66
    edited = edit(receipt, lambda d: d["output"]["tokens"].__setitem__(7, wrong))
    answer = llstore("replay", edited)
    assert (answer.returncode, answer.stderr) == (1, "")
    text = llstore("replay", edited, "--json")
    assert text.returncode == 1
    document = json.loads(text.stdout)
    assert set(document) == {
        *("same", "digest", "recorded_tokens", "tokens", "differs", "first_difference", "build_changes"),
    }
    assert (document["same"], document["differs"], document["build_changes"]) == (False, ["tokens"], [])
    difference = document["first_difference"]
    assert difference["position"] == 7
    assert (difference["recorded"]["token"], difference["now"]["token"]) == (wrong, tokens[7])
    assert difference["recorded"]["text"] == chr(wrong)
    assert answer.stdout.startswith(f"different at token 7: recorded {wrong} {chr(wrong)!r}, now {tokens[7]} ")


def test_an_answer_that_ended_earlier_or_later_is_different(llstore: Command, receipt: Path) -> None:
    tokens = json.loads(receipt.read_text())["output"]["tokens"]
    shorter = llstore("replay", edit(receipt, lambda d: d["output"]["tokens"].pop()))
    assert shorter.returncode == 1
    assert shorter.stdout.startswith(f"different at token 11: recorded the end, now {tokens[11]} ")
    longer = llstore("replay", edit(receipt, lambda d: d["output"]["tokens"].append(2**31 - 1)))
    assert longer.stdout == "different at token 12: recorded 2147483647 that the model lacks, now the end\n"


def test_another_text_or_end_of_the_same_tokens_is_different(llstore: Command, receipt: Path) -> None:
    edited = edit(receipt, lambda d: d["output"].update(text="Paris\x1b[2J", finish_reason="stop"))
    answer = llstore("replay", edited)
    assert answer.returncode == 1
    first, second = answer.stdout.splitlines()
    assert first.startswith(r"different text of the same tokens: recorded 'Paris\x1b[2J', now ")
    assert second == "different end: recorded stop, now length"


def test_another_prompt_is_said_first(llstore: Command, receipt: Path) -> None:
    edited = edit(receipt, lambda d: d["prompt"]["messages"][0].update(content="Goodbye"))
    answer = llstore("replay", edited)
    assert answer.returncode == 1
    assert answer.stdout.startswith("different prompt: recorded ")
    assert "prompt" in json.loads(llstore("replay", edited, "--json").stdout)["differs"]


def test_another_template_is_said_first(llstore: Command, receipt: Path) -> None:
    answer = llstore("replay", edit(receipt, lambda d: d.update(template="sha256:" + "0" * 64)))
    assert answer.returncode == 1
    assert answer.stdout.startswith(f"different template: recorded sha256:{'0' * 64}, now sha256:")


def test_a_build_that_changed_is_remarked_only_when_the_answer_did(llstore: Command, receipt: Path) -> None:
    older = edit(receipt, lambda d: d["build"].update(llama_cpp_python="0.2.1"))
    same = llstore("replay", older)
    assert (same.returncode, same.stderr) == (0, "")
    other = llstore("replay", edit(older, lambda d: d["output"]["tokens"].pop()))
    assert other.returncode == 1
    assert other.stderr == "llstore: not the build that was recorded: llama-cpp-python 0.2.1 then, 0.3.36 now\n"


def test_a_receipt_that_was_tampered_with_is_refused(llstore: Command, receipt: Path) -> None:
    text = receipt.read_text()
    for edited in (text.replace('"tokens":[', '"tokens":[1,'), text.replace("Hello", "Hallo"), text[:-100]):
        receipt.write_text(edited)
        one_line(llstore("replay", receipt), 2, "receipt.json is not a sound run receipt")


def test_a_receipt_of_a_later_format_says_so(llstore: Command, receipt: Path) -> None:
    receipt.write_text(receipt.read_text().replace('"format":1', '"format":2'))
    one_line(llstore("replay", receipt), 1, "later llstore", "upgrade")


def test_a_receipt_of_another_model(llstore: Command, receipt: Path, tmp_path: Path) -> None:
    absent = edit(receipt, lambda d: d.update(model="sha256:" + "ab" * 32))
    one_line(llstore("replay", absent), 3, "no model")
    other = write_tiny(tmp_path / "other.gguf", seed=1)
    llstore("put", other)
    swapped = digest(other.read_bytes())
    mixed = edit(receipt, lambda d: d.update(model=swapped))
    one_line(llstore("replay", mixed), 2, "names files", swapped)
    whole = edit(mixed, lambda d: d["files"][0].update(digest=swapped))
    answer = llstore("replay", whole)
    assert answer.returncode == 1
    assert answer.stdout.startswith("different at token ")


def test_settings_that_the_model_cannot_have_had_are_refused(llstore: Command, receipt: Path) -> None:
    one_line(llstore("replay", edit(receipt, lambda d: d["engine"].update(context_size=2**31 - 1))), 2, "context")


def test_recorded_engine_settings_are_used(llstore: Command, receipt: Path) -> None:
    other = edit(receipt, lambda d: d["engine"].update(threads=1, batch_size=8, key_type="f32", value_type="f32"))
    assert json.loads(llstore("replay", other, "--json").stdout)["tokens"] == 12
    # A quantized V cache is one that llama.cpp has with flash attention only.
    broken = edit(receipt, lambda d: d["engine"].update(value_type="q8_0"))
    one_line(llstore("replay", broken), 1, "flash")


def test_a_receipt_of_one_machine_is_replayed_on_another_and_then_offline(
    llstore: Command, tiny: Path, bucket: str, tmp_path: Path
) -> None:
    path = tmp_path / "receipt.json"
    llstore("put", tiny, "--name", "t/tiny", "--store", bucket)
    llstore("run", "t/tiny", "-p", "Hello", "--max-tokens", "8", "--receipt", path, "--store", bucket)
    there = {"LLSTORE_HOME": str(tmp_path / "there"), "LLSTORE_STORE": bucket}
    one_line(llstore("replay", path, "--offline", **there), 3, "not on this machine")
    assert llstore("replay", path, **there).stdout == "same: 8 tokens\n"
    # Not even the catalog is there: the digest alone finds the model.
    assert not list((tmp_path / "there").rglob("catalog-*.db"))
    unreachable = {**there, "LLSTORE_STORE": "s3://models?endpoint=http://127.0.0.1:9"}
    assert llstore("replay", path, "--offline", **unreachable).stdout == "same: 8 tokens\n"


def test_a_split_model_answers_as_the_whole_one_and_its_receipt_names_its_shards(
    llstore: Command, tiny: Path, receipt: Path, tmp_path: Path
) -> None:
    shards = write_shards(tiny, 3, tmp_path)
    split = llstore("put", *shards).stdout.strip()
    path = tmp_path / "split.json"
    seed = str(json.loads(receipt.read_text())["sampling"]["seed"])
    ran = llstore("run", split, "-p", "Hello", "--max-tokens", "12", "--seed", seed, "--receipt", path)
    assert ran.returncode == 0, ran.stderr
    whole, made = (json.loads(file.read_text()) for file in (receipt, path))
    assert made["output"] == whole["output"]
    assert made["files"] == [{"role": "shard", "digest": digest(shard.read_bytes())} for shard in shards]
    assert made["model"] == made["manifest"] == split
    assert llstore("replay", path).stdout == "same: 12 tokens\n"


def test_a_receipt_that_cannot_be_written_is_refused_before_the_model_is_fetched(
    llstore: Command, tiny: Path, bucket: str, tmp_path: Path
) -> None:
    llstore("put", tiny, "--name", "t/tiny", "--store", bucket)
    ask = ("run", "t/tiny", "-p", "Hello", "--max-tokens", "2", "--store", bucket, "--receipt")
    fresh = {"LLSTORE_HOME": str(tmp_path / "fresh")}
    one_line(llstore(*ask, tmp_path / "absent" / "r.json", **fresh), 1, "no folder", "mkdir")
    one_line(llstore(*ask, tmp_path, **fresh), 1, "is a folder")
    one_line(llstore(*ask, "/dev/stdout", **fresh), 1, "/dev/stdout is not a regular file")
    assert not list((tmp_path / "fresh").rglob("blobs/sha256/*/*"))


def test_a_receipt_given_twice_is_replaced(llstore: Command, model: str, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    for count in (3, 2):
        llstore("run", model, "-p", "Hello", "--max-tokens", str(count), "--receipt", path)
    assert llstore("replay", path).stdout == "same: 2 tokens\n"


def test_an_interrupted_run_leaves_no_receipt(home: Path, model: str, tmp_path: Path) -> None:
    folder = tmp_path / "receipts"
    folder.mkdir()
    # So long a generation that the interrupt finds it running.
    words = ["run", model, "-p", "Hello", "--max-tokens", "100000", "--receipt", str(folder / "r.json")]
    process = subprocess.Popen(
        [sys.executable, "-m", "llstore.cli", *words],
        env={**os.environ, "LLSTORE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, b"llstore: interrupted\n")
    assert not list(folder.iterdir())


def test_without_receipt_the_field_is_null_and_nothing_is_written(llstore: Command, model: str, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    assert json.loads(llstore("run", model, "-p", "Hi", "--max-tokens", "1", "--json").stdout)["receipt"] is None
    assert set(tmp_path.iterdir()) == before
