"""A folder that make cannot install into is refused in one line."""

import os
import subprocess
from pathlib import Path

import pytest
from locked import ROOT


def refusal(venv: str) -> list[str]:
    # PYTHON=false: should a refusal fail to come, nothing is installed.
    command = ["make", "--no-print-directory", "demo", f"VENV={venv}", "PYTHON=false"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    made = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert made.stdout == ""
    return made.stderr.splitlines()


@pytest.mark.parametrize("venv", ["my venv", "venv ", ""])
def test_a_name_with_a_space_is_refused_with_the_command_that_takes_it(venv: str) -> None:
    (line,) = refusal(venv)
    assert f'install --venv "{venv}"' in line


def test_a_folder_that_cannot_be_written_is_named_and_no_shell_complains(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    first, *_makes_own = refusal(f"{tmp_path}/file/venv")
    assert first == f"error: {tmp_path}/file/venv cannot be written; name another folder: make VENV=DIR"
