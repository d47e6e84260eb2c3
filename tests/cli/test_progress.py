"""Progress is drawn on a terminal, and nowhere else."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Command = Callable[..., subprocess.CompletedProcess[str]]


def on_a_terminal(home: Path, *arguments: str | Path) -> tuple[str, str]:
    """Runs the command with stderr on a terminal; returns what stdout and the terminal received."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "llstore.cli", *map(str, arguments)],
        env={**os.environ, "LLSTORE_HOME": str(home), "TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # Linux says so when the last writer has closed a terminal
            break
        if not read:
            break
        shown += read
    os.close(ours)
    stdout, _ = process.communicate()
    return stdout, shown.decode()


def test_a_terminal_sees_bars_and_the_pipe_sees_the_result(home: Path, smollm2: Path) -> None:
    stdout, shown = on_a_terminal(home, "put", smollm2)
    assert "hash" in shown
    assert "upload" in shown
    assert "98.4/98.4 MB" in shown
    assert len(stdout.splitlines()) == 1


def test_quiet_and_pipes_are_silent(home: Path, tiny: Path, llstore: Command) -> None:
    assert on_a_terminal(home, "put", tiny, "--quiet")[1] == ""
    assert on_a_terminal(home, "put", tiny, "--json")[1] == ""
    answer = llstore("get", "--quiet", llstore("put", tiny, "--quiet").stdout.strip())
    assert answer.stderr == ""
