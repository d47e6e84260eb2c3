"""A command's output stays in its log; its failure is an error with the log's cause, and its end is everyone's end."""

import os
import select
import subprocess
import sys
from pathlib import Path

import logged_run
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


def test_a_command_ends_when_the_installer_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "held")
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    script = f"exec 9>{tmp_path / 'held'}; echo begun >&9; sleep 600 & wait"
    code = f"""
import sys
sys.path.insert(0, {str(Path(logged_run.__file__).parent)!r})
from logged_run import Command, run_logged
from pathlib import Path
run_logged(Command(["sh", "-c", {script!r}], ""), log=Path({str(tmp_path / "a.log")!r}), progress=str)
"""
    installer = subprocess.Popen([sys.executable, "-c", code])
    select.select([held], [], [])
    os.set_blocking(held, True)
    assert os.read(held, 6) == b"begun\n"
    installer.kill()
    assert os.read(held, 1) == b""  # the end comes when nobody holds it open any more
    os.close(held)
    installer.wait()


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="it was not done: it ended with: no-such-program: No such file"):
        run_logged(Command(["no-such-program"], "it was not done"), log=tmp_path / "a.log", progress=str)
