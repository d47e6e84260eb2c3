"""Heads gone wrong, by the thousand: the gate has a verdict on each, soon and cheaply, and what passes kills nobody."""

import io
import os
import secrets
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import loads
import models
import pytest
import tiny as tiny_model
import vocabs
from gguf_bytes import u32, words
from mutants import Head, Padded
from sound import TOKENS, Sound, float32, token_list
from steps import calls

from llstore.runner.chat.lint import lint
from llstore.store.gate import Verdict, check

SOAK = os.environ.get("LLSTORE_SOAK") == "1"
SECONDS = float(os.environ.get("LLSTORE_FUZZ_SECONDS", "600")) if SOAK else 0.0
SEED = int(os.environ.get("LLSTORE_SEED") or (secrets.randbits(32) if SOAK else 1))
MOST_CALLS, MOST_BYTES = 12_000_000, 64 << 20  # as many calls take a second or so
LEAST = 120  # mutants; `make soak` goes on for SECONDS
WEIGHED = 5  # one mutant in so many is weighed too, which takes several times as long
BATCH = 40 if SOAK else 8  # files that one child loads
SMALL = ("llama-spm", "bert-bge", "phi-3", "gpt-2")


def judged(head: bytes, size: int) -> Verdict:
    return check(Padded(head, size), size, lint=lint)


def heads(folder: Path) -> list[Head]:
    paths = [tiny_model.write_tiny(folder / "tiny.gguf"), *map(models.fetch, models.MODELS)]
    paths += [path for name, path in vocabs.fetch().items() if SOAK or name in SMALL]
    return [Head(_start(path), path.stat().st_size) for path in paths]


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32 << 20)


def test_any_head_gets_a_verdict_within_12_million_calls_and_64_mib(tmp_path: Path) -> None:
    known, random = heads(tmp_path), Random(SEED)
    # A large vocabulary costs as much as a hundred tiny models, and teaches no more.
    likely = [1 / len(head.data) for head in known]
    found: Counter[str] = Counter()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or found.total() < LEAST:
        (head,) = random.choices(known, weights=likely)
        mutant = head.mutant(random, known)
        # Cut at the end, padded with zeros to the size it had, or as large as it became.
        size = random.choice((head.size, len(mutant), head.size + len(mutant) - len(head.data)))
        size = max(size, len(mutant))
        found[_tried(mutant, size, weighed=found.total() % WEIGHED == 0)] += 1
    # Not all fail at the first byte.
    assert len(found) > 5, found


def _tried(mutant: bytes, size: int, *, weighed: bool) -> str:
    try:
        verdicts: list[Verdict] = []
        cost = calls(lambda: verdicts.append(judged(mutant, size)))
        peak = _peak(mutant, size) if weighed else 0
    except Exception as error:
        raise AssertionError(f"{_kept(mutant)}: {error!r}") from error
    assert cost < MOST_CALLS, f"{_kept(mutant)}: {cost} calls"
    assert peak < MOST_BYTES, f"{_kept(mutant)}: {peak >> 20} MiB"
    (verdict,) = verdicts
    return verdict.problems[0].code if verdict.problems else "safe"


def _peak(mutant: bytes, size: int) -> int:
    tracemalloc.start()
    try:
        judged(mutant, size)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _kept(mutant: bytes) -> str:
    """Where the mutant can be looked at afterwards."""
    path = Path(tempfile.gettempdir()) / f"gate-mutant-{SEED}.gguf"
    path.write_bytes(mutant)
    return f"seed {SEED}, kept as {path}"


def outcomes(paths: list[Path]) -> list[str]:
    """How llama.cpp fared with each file, in a child; the last is the signal that ended it, if one did."""
    child = subprocess.run(
        [sys.executable, loads.__file__, *map(str, paths)],
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = child.stdout.splitlines()
    found = [line.removeprefix(str(path)).strip() for path, line in zip(paths, lines, strict=False)]
    if child.returncode:
        found[-1] = f"died of {child.returncode}: {child.stderr.splitlines()[-1:]}"
    return found


# What passes every check of gguf.cpp and then ends the process, or did so until the gate refused it.
DEADLY = {
    "no layers": Sound().with_keys(llama__block_count=u32("llama.block_count", 0)),
    "experts that are used up": Sound().with_keys(new=u32("llama.expert_used_count", 2)),
    "a negative epsilon": Sound().with_keys(llama__eps=float32("llama.attention.layer_norm_rms_epsilon", -1.0)),
    "a scaling unheard of": Sound().with_keys(new=words("llama.rope.scaling.type", "cubic")),
    "a token twice": Sound().with_keys(tokenizer__ggml__tokens=token_list([*TOKENS[:-1], b"<s>"])),
    "intermediate weights": Sound().with_tensor("blk.0.attn_q.weight", (32, 32), kind=9),
    "a norm of 16 bits": Sound().with_tensor("output_norm.weight", (32,), kind=1),
}


@pytest.mark.parametrize("fault", DEADLY)
def test_what_kills_llama_cpp_does_not_pass(fault: str, tmp_path: Path) -> None:
    data = DEADLY[fault].encode()
    assert not check(io.BytesIO(data), len(data)).safe
    if SOAK:
        (tmp_path / "fault.gguf").write_bytes(data)
        assert outcomes([tmp_path / "fault.gguf"])[0].startswith("died")


def test_a_sound_file_is_loaded_and_talks(tmp_path: Path) -> None:
    (tmp_path / "sound.gguf").write_bytes(Sound().encode())
    assert outcomes([tmp_path / "sound.gguf"])[0].startswith("said")


def passing(head: Head, rest: bytes, random: Random, folder: Path) -> Iterator[Path]:
    """Mutants of one file that the gate lets pass."""
    for index in range(10**9):
        data = head.mutant(random, [head]) + rest
        if check(io.BytesIO(data), len(data), lint=lint).safe:
            path = folder / f"{index}.gguf"
            path.write_bytes(data)
            yield path


@pytest.mark.parametrize("name", ["tiny", *SMALL])
def test_what_passes_the_gate_does_not_kill_llama_cpp(name: str, tmp_path: Path) -> None:
    path = tiny_model.write_tiny(tmp_path / "whole.gguf") if name == "tiny" else vocabs.fetch()[name]
    data = path.read_bytes()
    head, random = Head(data, len(data)), Random(SEED)
    (tmp_path / "mutants").mkdir()
    mutants = passing(head, data[len(head.data) :], random, tmp_path / "mutants")
    end, tried = time.monotonic() + SECONDS / 20, 0
    while time.monotonic() < end or not tried:
        batch = [next(mutants) for _ in range(BATCH)]
        for mutant, outcome in zip(batch, outcomes(batch), strict=False):
            assert not outcome.startswith("died"), f"seed {SEED}, {_kept(mutant.read_bytes())}: {outcome}"
            mutant.unlink()
        tried += 1
