"""The first promise: push a real model by its hash, pull it back verified, and run it."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from seaweed import SeaweedFS

Command = Callable[..., subprocess.CompletedProcess[str]]

SMOLLM2 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# A question whose answer leads by far: others are answered in one language or another by the processor's rounding.
QUESTION = ("-p", "Name the capital of France.", "--system", "You are a helpful assistant.", "--temperature", "0")
ANSWER = "The capital of France is Paris.\n"


def test_a_model_in_the_embedded_store_answers(llstore: Command, smollm2: Path) -> None:
    put = llstore("put", smollm2)
    assert (put.returncode, put.stdout) == (0, f"sha256:{SMOLLM2}\n")
    assert llstore("run", SMOLLM2, *QUESTION).stdout == ANSWER


@pytest.mark.parametrize("ref", [SMOLLM2, SMOLLM2[:8], "team/chat", f"team/chat@sha256:{SMOLLM2}"])
def test_a_model_in_a_bucket_answers_on_a_fresh_machine(
    llstore: Command, smollm2: Path, bucket: str, tmp_path: Path, ref: str
) -> None:
    assert llstore("put", smollm2, "--name", "team/chat", "--store", bucket).returncode == 0
    fresh = str(tmp_path / "fresh")
    answer = llstore("run", ref, *QUESTION, LLSTORE_STORE=bucket, LLSTORE_HOME=fresh)
    assert (answer.stdout, answer.stderr, answer.returncode) == (ANSWER, "", 0)
    again = llstore("run", SMOLLM2, *QUESTION, "--offline", LLSTORE_STORE=bucket, LLSTORE_HOME=fresh)
    assert again.stdout == ANSWER


def test_the_hashes_of_source_object_and_cached_file_agree(
    llstore: Command, smollm2: Path, bucket: str, seaweed: SeaweedFS
) -> None:
    llstore("put", smollm2, "--store", bucket)
    cached = Path(llstore("get", SMOLLM2, "--store", bucket).stdout.strip())
    key = f"blobs/sha256/b1/{SMOLLM2}"
    body = seaweed.client().get_object(Bucket=urlsplit(bucket).netloc, Key=key)["Body"].read()
    assert {hashlib.sha256(data).hexdigest() for data in (body, cached.read_bytes(), smollm2.read_bytes())} == {SMOLLM2}
    assert cached.stat().st_mode & 0o777 == 0o444


def test_json_documents_have_the_fields_scripts_rely_on(llstore: Command, tiny: Path, bucket: str) -> None:
    def document(*arguments: str | Path) -> dict[str, object]:
        answer = llstore(*arguments, "--json", LLSTORE_STORE=bucket)
        assert answer.stderr == ""
        found: dict[str, object] = json.loads(answer.stdout)
        return found

    put = document("put", tiny, "--name", "t/tiny", "--label", "stage=prod")
    assert set(put) == {"digest", "manifest", "size", "uploaded_bytes", "deduplicated", "seconds", "names"}
    assert (put["size"], put["uploaded_bytes"], put["deduplicated"]) == (tiny.stat().st_size,) * 2 + (False,)
    get = document("get", "t/tiny")
    assert set(get) == {"digest", "path", "size", "fetched_bytes", "from_cache", "seconds", "files"}
    assert (get["fetched_bytes"], get["from_cache"]) == (tiny.stat().st_size, False)
    assert get["files"] == [
        {"role": "weights", "digest": put["digest"], "path": get["path"], "size": tiny.stat().st_size}
    ]
    assert document("get", "t/tiny")["from_cache"] is True
    (listed,) = document("list")["models"]  # type: ignore[misc]
    fields = "digest names size architecture parameters quantization context_length labels cached created_at"
    assert set(listed) == set(fields.split())
    assert (listed["names"], listed["labels"], listed["cached"]) == (["t/tiny:latest"], {"stage": "prod"}, True)
    assert document("show", "t/tiny")["architecture"] == "llama"
    ran = document("run", "t/tiny", "-p", "hi", "--max-tokens", "4", "--temperature", "0")
    assert set(ran) == {
        *("digest", "text", "prompt_tokens", "completion_tokens", "finish_reason", "load_seconds"),
        *("first_token_seconds", "tokens_per_second", "receipt"),
    }
    assert (ran["completion_tokens"], ran["finish_reason"]) == (4, "length")


def test_the_same_seed_gives_the_same_text(llstore: Command, tiny: Path) -> None:
    llstore("put", tiny, "--name", "t/tiny")
    texts = [
        json.loads(llstore("run", "t/tiny", "-p", "hi", "--max-tokens", "16", "--seed", seed, "--json").stdout)["text"]
        for seed in ("1", "1", "2")
    ]
    assert texts[0] == texts[1] != texts[2]


def test_a_prompt_of_a_dash_is_read_from_stdin(home: Path, llstore: Command, smollm2: Path) -> None:
    import os
    import sys

    llstore("put", smollm2)
    words = ["run", SMOLLM2, "-p", "-", *QUESTION[2:]]
    answer = subprocess.run(
        [sys.executable, "-m", "llstore.cli", *words],
        input=QUESTION[1],
        env={**os.environ, "LLSTORE_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert answer.stdout == ANSWER


def test_an_empty_system_message_is_one_and_raw_is_raw(llstore: Command, smollm2: Path) -> None:
    llstore("put", smollm2)

    def prompt_tokens(*flags: str) -> int:
        answer = llstore("run", SMOLLM2, "-p", "Hello", "--max-tokens", "1", "--json", *flags)
        count: int = json.loads(answer.stdout)["prompt_tokens"]
        return count

    # The template has a system message of its own, which an empty one replaces.
    assert prompt_tokens("--raw") == 1 < prompt_tokens("--system", "") < prompt_tokens()


def test_a_name_given_to_a_second_model_means_that_one(llstore: Command, tiny: Path, tmp_path: Path) -> None:
    text = tmp_path / "template.txt"
    text.write_text("a template")
    llstore("put", tiny, "--name", "t/x")
    llstore("put", text, "--name", "t/x", "--role", "template")
    shown = json.loads(llstore("show", "t/x", "--json").stdout)
    assert shown["digest"] == "sha256:" + hashlib.sha256(b"a template").hexdigest()


def test_list_is_a_table_and_version_a_line(llstore: Command, tiny: Path) -> None:
    assert llstore("list").stdout == ""
    llstore("put", tiny, "--name", "t/tiny")
    head, row = llstore("list").stdout.splitlines()
    assert head.split()[:3] == ["DIGEST", "NAMES", "SIZE"]
    assert "t/tiny:latest" in row
    assert llstore("--version").stdout.startswith("llstore 0.")


def test_doctor_tells_what_is_here(llstore: Command, bucket: str) -> None:
    facts = json.loads(llstore("doctor", "--json", "--store", bucket).stdout)
    assert facts["versions"]["llama-cpp-python"] != "not installed"
    assert facts["runner"]["cpu"]
    assert "CPU" in facts["runner"]["backends"]
    assert facts["store"]["reachable"] == "yes, and empty"
    broken = llstore("doctor", "--store", "s3://bucket?endpoint=http://127.0.0.1:1")
    assert (broken.returncode, "cannot reach" in broken.stdout) == (5, True)


@pytest.mark.parametrize(
    ("shell", "typed"),
    [
        ("bash", {"COMP_WORDS": "llstore sto", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "llstore sto"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "llstore sto", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_shells_complete_the_commands(llstore: Command, shell: str, typed: dict[str, str]) -> None:
    script = llstore(_LLSTORE_COMPLETE=f"source_{shell}").stdout
    assert f"complete_{shell}" in script
    answer = llstore(_LLSTORE_COMPLETE=f"complete_{shell}", **typed)
    assert answer.returncode == 0
    assert "store" in answer.stdout
    assert "Usage" not in answer.stdout
