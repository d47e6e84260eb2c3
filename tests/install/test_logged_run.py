"""A command's output stays in its log; its failure is an error with the log's cause, and its end is everyone's end."""

import os
from pathlib import Path

import pytest
from failures import InstallError
from logged_run import Command, run_logged


def run(script: str, log: Path) -> None:
    run_logged(Command(["sh", "-c", script], "it was not done"), log=log, progress=str)


def test_output_goes_to_the_log_and_nowhere_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run("echo out; echo err >&2", tmp_path / "new" / "a.log")
    assert (tmp_path / "new" / "a.log").read_text().endswith("out\nerr\n")
    assert capfd.readouterr() == ("", "")


def test_a_failure_is_told_by_its_own_part_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    run("echo CMake Error: of an earlier run", log)
    with pytest.raises(InstallError, match="it was not done: it ended with: cannot go on") as raised:
        run("echo cannot go on; exit 3", log)
    assert raised.value.log == log


def test_an_interruption_ends_what_a_command_started(tmp_path: Path) -> None:
    def stop(_seconds: int) -> str:
        raise KeyboardInterrupt

    os.mkfifo(tmp_path / "held")
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    command = Command(["sh", "-c", f"exec 9>{tmp_path / 'held'}; sleep 600 & wait"], "it was not done")
    with pytest.raises(KeyboardInterrupt):
        run_logged(command, log=tmp_path / "a.log", progress=stop, every_s=0.5)
    os.set_blocking(held, True)
    assert os.read(held, 1) == b""  # the end comes when nobody holds it open any more
    os.close(held)
