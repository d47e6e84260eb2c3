"""A batch of many lines and a real model, killed again and again: every line once, in order, nothing left behind."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import until

LONG = bool(os.environ.get("LLSTORE_SOAK"))
LINES, KILLS, MODELS = (500, 4, ["smollm2", "gemma"]) if LONG else (40, 1, ["smollm2"])


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_that_is_killed_again_and_again_has_every_line_once(
    llstore: Callable[..., subprocess.CompletedProcess[str]],
    home: Path,
    tmp_path: Path,
    name: str,
    request: pytest.FixtureRequest,
) -> None:
    lot = random.Random(7)
    llstore("put", request.getfixturevalue(name), "--name", "t/t")
    rows = [{"id": n, "prompt": f"Say something about {n}.", "max_tokens": lot.randint(1, 8)} for n in range(LINES)]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["batch", "t/t", "-i", str(source), "-o", str(target), "--ctx", "256", "--json"]
    for kill in range(1, KILLS + 1):
        before = whole(target)
        process = subprocess.Popen(
            [sys.executable, "-m", "llstore.cli", *command], env={**os.environ, "LLSTORE_HOME": str(home)}
        )
        while whole(target).count(b"\n") < LINES * kill // (KILLS + 1) + lot.randint(0, LINES // 25):
            assert process.poll() is None
            time.sleep(0.01)
        engines = children(process.pid)
        assert engines
        process.kill()
        process.wait()
        until(lambda engines=engines: not any(map(lives, engines)))
        assert target.read_bytes().startswith(before)
    before = whole(target)
    summary = json.loads(
        subprocess.check_output(
            [sys.executable, "-m", "llstore.cli", *command], env={**os.environ, "LLSTORE_HOME": str(home)}
        )
    )
    assert (summary["done"], summary["skipped"]) == (LINES, before.count(b"\n"))
    assert target.read_bytes().startswith(before)
    assert [json.loads(line)["id"] for line in target.read_text().splitlines()] == list(range(LINES))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "in.jsonl", "out.jsonl"]


def whole(path: Path) -> bytes:
    """The whole lines of an output."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def children(pid: int) -> list[int]:
    found = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for file in found for child in file.read_text().split()]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
