"""Most tests fork the command from a process that has imported it: there it does what it does when it is started."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from forked import Forks, started


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--help",),
        ("nonsense",),
        ("list",),
        ("get", "ab" * 32),
        ("get", "ab" * 32, "--json"),
        ("put", "\udcff"),
        ("put", "note", "--role", "other"),
    ],
    ids=" ".join,
)
def test_forked_it_does_what_it_does_when_started(forks: Forks, tmp_path: Path, words: tuple[str, ...]) -> None:
    home, answers = tmp_path / "home", []
    (tmp_path / "note").write_text("note")
    for run in (started, forks.run):
        answer = run(words, env={**os.environ, "LLSTORE_HOME": str(home)}, cwd=tmp_path, timeout=60)
        found = sorted(path.name for path in home.rglob("*/blobs/sha256/*/*"))
        answers.append((answer.returncode, answer.stdout, answer.stderr, found))
        shutil.rmtree(home, ignore_errors=True)
    assert answers[0] == answers[1]


def test_one_that_takes_too_long_is_killed(forks: Forks, tmp_path: Path) -> None:
    environment = {**os.environ, "LLSTORE_HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"s3://bucket?endpoint=http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(subprocess.TimeoutExpired):
            forks.run(("list", "--store", url), env=environment, cwd=tmp_path, timeout=0.5)


def test_what_python_reads_at_its_start_needs_a_start(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(99)")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    assert forks.run(("list",), env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path, timeout=60).returncode == 99
