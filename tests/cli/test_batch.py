"""`llstore batch` answers a file's lines in order, whatever comes between its beginning and its end."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from waiting import until

Command = Callable[..., subprocess.CompletedProcess[str]]
Put = Callable[..., str]
Rows = list[dict[str, Any]]
PROGRAM = (sys.executable, "-m", "llstore.cli")
ONE = ("--threads", "1")  # more of them would wait for each other while other tests run


@pytest.fixture
def stored(put: Put, tiny: Path) -> str:
    put(tiny, name="t/tiny")
    return "t/tiny"


def write(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def prompts(count: int, **settings: Any) -> Rows:
    return [{"id": f"q{n}", "prompt": f"Question {n}?", "max_tokens": 3 + n % 7, **settings} for n in range(count)]


@contextmanager
def started(home: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*PROGRAM, "batch", *map(str, arguments), *ONE],
        env={**os.environ, "LLSTORE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def children(pid: int) -> list[int]:
    found = [task / "children" for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for file in found for child in file.read_text().split()]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def on_a_terminal(home: Path, *arguments: str | Path) -> tuple[str, str]:
    """Runs the command with stderr on a terminal; returns what stdout and the terminal received."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "LLSTORE_HOME": str(home), "TERM": "xterm", "COLUMNS": "120"}
    command = [*PROGRAM, *map(str, arguments)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # Linux says so when the last writer has closed a terminal
        while chunk := os.read(ours, 65536):
            shown += chunk
    os.close(ours)
    return process.communicate()[0], shown.decode()


def test_every_line_is_answered_in_order(llstore: Command, tmp_path: Path, stored: str) -> None:
    asked = prompts(40, temperature=0)
    source, target = write(tmp_path / "in.jsonl", asked), tmp_path / "out.jsonl"
    made = llstore("batch", stored, "-i", source, "-o", target, "--json", *ONE)
    assert (made.returncode, made.stderr) == (0, "")
    answers = read(target)
    assert [answer["id"] for answer in answers] == [row["id"] for row in asked]
    assert {tuple(answer) for answer in answers} == {
        ("id", "text", "finish_reason", "prompt_tokens", "completion_tokens")
    }
    # The tiny model goes on until it is stopped.
    assert [answer["completion_tokens"] for answer in answers] == [row["max_tokens"] for row in asked]
    summary = json.loads(made.stdout)
    assert list(summary) == [
        *("lines", "done", "failed", "skipped"),
        *("prompt_tokens", "completion_tokens", "seconds", "tokens_per_second"),
    ]
    assert (summary["lines"], summary["done"], summary["failed"], summary["skipped"]) == (40, 40, 0, 0)
    assert summary["completion_tokens"] == sum(row["max_tokens"] for row in asked)
    assert summary["tokens_per_second"] > 0
    assert not (tmp_path / "out.jsonl.llstore").exists()


def test_broken_lines_are_reported_and_the_rest_is_done(llstore: Command, tmp_path: Path, stored: str) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    openai = {"custom_id": "o", "url": "/v1/chat/completions", "body": {"n": 2, "max_tokens": 2}}
    openai["body"]["messages"] = [{"role": "user", "content": "Hi"}]  # type: ignore[index]
    source.write_bytes(
        b'{"prompt": "a", "max_tokens": 2}\n'
        b"nonsense\n"
        b"\n"
        b'{"prompt": "\xff"}\n'
        b'{"id": "long", "prompt": "' + b"x" * 600 + b'"}\n'
        b'{"id": "typo", "prompt": "a", "temprature": 1}\n'
        b'{"id": "empty", "prompt": ""}\n'
        b'{"id": "grammar", "prompt": "a", "grammar": "root ::= ("}\n' + json.dumps(openai).encode()
    )
    made = llstore("batch", stored, "-i", source, "-o", target, *ONE)
    assert made.returncode == 1
    assert made.stderr.splitlines()[-1] == f"llstore: 6 of 8 lines have no answer: {target} says why"
    rows = read(target)
    assert [row.get("id") for row in rows[:7]] == [0, 1, 2, "long", "typo", "empty", "grammar"]
    assert "completion_tokens" in rows[0]
    said = [row["error"] for row in rows[1:7]]
    assert [text.split(":")[0] for text in said] == ["line 2", "line 4", "line 5", "line 6", "line 7", "line 8"]
    assert "the prompt has 6" in said[2]
    assert "512" in said[2]
    assert "'temprature'" in said[3]
    assert len(rows[7]["response"]["body"]["choices"]) == 2


def test_a_killed_batch_goes_on_without_doing_a_line_twice(
    llstore: Command, home: Path, tmp_path: Path, stored: str
) -> None:
    asked = prompts(400, max_tokens=40)
    source, target = write(tmp_path / "in.jsonl", asked), tmp_path / "out.jsonl"
    command = (stored, "-i", source, "-o", target, "--parallel", "4")
    with started(home, *command) as process:
        until(lambda: lines_in(target) >= 15)
        engines = children(process.pid)
        assert engines
        process.kill()
        process.wait()
        before = target.read_bytes()
        until(lambda: not any(map(lives, engines)))
    assert 15 <= before.count(b"\n") < 400
    whole = before[: before.rfind(b"\n") + 1]
    journal = (tmp_path / "out.jsonl.llstore").read_text().splitlines()
    ahead = [json.loads(line)["line"] for line in journal if line.startswith('{"ahead"')]
    made = llstore("batch", *command, "--json", *ONE)
    assert made.returncode == 0
    # The texts are drawn by lot: an answer that was made twice would be another one.
    after = target.read_bytes()
    assert after.startswith(whole)
    assert all(line in after.decode() for line in ahead)
    assert [row["id"] for row in read(target)] == [row["id"] for row in asked]
    assert json.loads(made.stdout)["skipped"] == whole.count(b"\n")
    assert not (tmp_path / "out.jsonl.llstore").exists()


def test_ctrl_c_leaves_no_engine_and_the_batch_goes_on(
    llstore: Command, home: Path, tmp_path: Path, stored: str
) -> None:
    source, target = write(tmp_path / "in.jsonl", prompts(20_000, max_tokens=100)), tmp_path / "out.jsonl"
    with started(home, stored, "-i", source, "-o", target, "--parallel", "2") as process:
        until(lambda: lines_in(target) >= 3)
        engines = children(process.pid)
        assert engines
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
        assert (process.returncode, stdout, stderr) == (130, b"", b"llstore: interrupted\n")
    assert not any(map(lives, engines))
    had = lines_in(target)
    write(source, prompts(had + 2, max_tokens=100))
    made = llstore("batch", stored, "-i", source, "-o", target, "--json", *ONE)
    assert json.loads(made.stdout)["skipped"] == had
    assert lines_in(target) == had + 2


def test_a_batch_that_is_done_is_kept_until_told_otherwise(llstore: Command, tmp_path: Path, stored: str) -> None:
    source, target = write(tmp_path / "in.jsonl", prompts(2)), tmp_path / "out.jsonl"
    assert llstore("batch", stored, "-i", source, "-o", target, *ONE).returncode == 0
    had = target.read_bytes()
    again = llstore("batch", stored, "-i", source, "-o", target, *ONE)
    assert again.returncode == 1
    assert again.stderr == (
        f"llstore: {target} is there, of a batch that is done or of something else (--restart begins it anew)\n"
    )
    assert target.read_bytes() == had
    assert llstore("batch", stored, "-i", source, "-o", target, "--restart", "--seed", "1", *ONE).returncode == 0
    assert lines_in(target) == 2


def test_a_batch_begun_with_other_settings_is_refused(
    llstore: Command, home: Path, tmp_path: Path, stored: str
) -> None:
    source, target = write(tmp_path / "in.jsonl", prompts(20_000, max_tokens=100)), tmp_path / "out.jsonl"
    with started(home, stored, "-i", source, "-o", target, "--parallel", "2") as process:
        until(lambda: lines_in(target) >= 1)
        busy = llstore("batch", stored, "-i", source, "-o", target, *ONE)
        assert busy.returncode == 1
        assert "another llstore batch" in busy.stderr
        process.kill()
    other = llstore("batch", stored, "-i", source, "-o", target, "--temperature", "0")
    assert other.returncode == 1
    assert "temperature was 0.8 and is 0.0" in other.stderr
    assert "--restart" in other.stderr
    write(source, [{"prompt": "Another"}, *prompts(20_000)[1:]])
    assert "not those that were answered" in llstore("batch", stored, "-i", source, "-o", target, *ONE).stderr


def test_pipes_are_read_and_written(home: Path, stored: str, tmp_path: Path) -> None:
    data = "".join(json.dumps(row) + "\n" for row in prompts(5))
    made = subprocess.run(
        [*PROGRAM, "batch", stored, "-i", "-", "-o", "-", "--quiet", *ONE],
        env={**os.environ, "LLSTORE_HOME": str(home)},
        input=data,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert (made.returncode, made.stderr) == (0, "")
    assert [json.loads(line)["id"] for line in made.stdout.splitlines()] == [f"q{n}" for n in range(5)]


def test_a_full_disk_is_said_and_the_batch_goes_on_after(llstore: Command, tmp_path: Path, stored: str) -> None:
    source, target = write(tmp_path / "in.jsonl", prompts(60, max_tokens=40)), tmp_path / "out.jsonl"
    limited = subprocess.run(
        ["bash", "-c", 'ulimit -f 4; exec "$@"', "-", *PROGRAM, "batch", stored, "-i", source, "-o", target, *ONE],
        env={**os.environ, "LLSTORE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert limited.returncode == 6, limited.stderr
    had = target.read_bytes()
    made = llstore("batch", stored, "-i", source, "-o", target, *ONE)
    assert made.returncode == 0, made.stderr
    assert target.read_bytes().startswith(had[: had.rfind(b"\n") + 1])
    assert [row["id"] for row in read(target)] == [f"q{n}" for n in range(60)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-i", "none.jsonl", "-o", "out"), (3, "no file none.jsonl")),
        (("-i", "in", "-o", "in"), (2, "same file")),
        (("-i", "in", "-o", "-", "--json"), (2, "--json prints")),
        (("-i", "in", "-o", "out", "--raw", "--system", "x"), (2, "--raw")),
        (("-i", "in", "-o", "out", "--parallel", "0"), (2, "parallel is 0")),
        (("-i", "in", "-o", "out", "--ctx", "0"), (2, "context is 0")),
        (("-i", "in", "-o", "out", "--temperature", "-1"), (2, "temperature is -1")),
        (("-i", "in", "-o", "out", "--system", "\udcff"), (2, "--system is not UTF-8")),
        (("-i", "in", "-o", "away/out"), (1, "away/out")),
        (("-i", ".", "-o", "out"), (1, "is a directory")),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    llstore: Command, tmp_path: Path, stored: str, arguments: tuple[str, ...], expected: tuple[int, str]
) -> None:
    (tmp_path / "in").write_text('{"prompt": "a"}\n')
    made = llstore("batch", stored, *arguments)
    assert made.returncode == expected[0], made.stderr
    assert expected[1] in made.stderr
    assert len(made.stderr.splitlines()) == 1


def test_an_engine_that_dies_costs_no_line(home: Path, tmp_path: Path, stored: str) -> None:
    asked = prompts(40, max_tokens=100)
    source, target = write(tmp_path / "in.jsonl", asked), tmp_path / "out.jsonl"
    with started(home, stored, "-i", source, "-o", target, "--parallel", "4") as process:
        until(lambda: lines_in(target) >= 3)
        (engine,) = children(process.pid)
        os.kill(engine, signal.SIGABRT)
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert [(row["id"], row["completion_tokens"]) for row in read(target)] == [(row["id"], 100) for row in asked]


def test_a_terminal_sees_lines_and_tokens_a_second(home: Path, tmp_path: Path, stored: str) -> None:
    source, target = write(tmp_path / "in.jsonl", prompts(20)), tmp_path / "out.jsonl"
    command = ["batch", stored, "-i", source, "-o", target, *ONE]
    _, shown = on_a_terminal(home, *command)
    assert "/20" in shown
    assert "tokens/s" in shown
    assert on_a_terminal(home, *command, "--restart", "--quiet")[1] == ""


def test_a_real_model_answers_as_its_template_says(llstore: Command, tmp_path: Path, smollm2: Path) -> None:
    llstore("put", smollm2, "--name", "t/smol")
    asked = [{"prompt": "Name the capital of France.", "max_tokens": 8, "temperature": 0}] * 3
    source, target = write(tmp_path / "in.jsonl", asked), tmp_path / "out.jsonl"
    flags = ("--system", "You are a helpful assistant.", "--parallel", "2", "--ctx", "256", "--exact", *ONE)
    assert llstore("batch", "t/smol", "-i", source, "-o", target, *flags).returncode == 0
    assert [row["text"] for row in read(target)] == ["The capital of France is Paris."] * 3
