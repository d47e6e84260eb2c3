"""What lies in deploy/ is right, as far as can be told without a machine of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parent.parent / "deploy"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze on this machine")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    # It looks whether the program is there: this machine's is elsewhere.
    unit = (DEPLOY / "llstore.service").read_text()
    program = Path(sys.executable).parent / "llstore"
    (tmp_path / "llstore.service").write_text(unit.replace("/opt/llstore/bin/llstore", str(program)))
    command = ["systemd-analyze", "verify", "--recursive-errors=no", str(tmp_path / "llstore.service")]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_linter_finds_nothing_wrong_with_the_dockerfile() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    checked = subprocess.run([linter, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_dockerfile_copies_what_a_wheel_is_made_of() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    names = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert {"store", "runner", "cli", "pyproject.toml", "README.md", "LICENSE"} <= names
