"""What lies in deploy/ is right, as far as can be told without a machine of its own."""

import re
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


DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_linter_finds_nothing_wrong_with_the_dockerfile(name: str) -> None:
    linter = Path(sys.executable).parent / "hadolint"
    checked = subprocess.run([linter, DEPLOY / name], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_dockerfile_copies_what_a_wheel_is_made_of(name: str) -> None:
    lines = (DEPLOY / name).read_text().splitlines()
    names = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert {"store", "runner", "cli", "pyproject.toml", "README.md", "LICENSE"} <= names


def test_the_image_for_gpus_runs_with_the_cuda_that_it_was_compiled_with() -> None:
    bases = re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile.cuda").read_text(), flags=re.MULTILINE)
    assert [base.replace("-devel-", "-runtime-") for base in bases] == [bases[1]] * 2
    assert "${CUDA}" in bases[0]


def test_both_images_start_and_end_the_server_in_the_same_way() -> None:
    ends = [(DEPLOY / name).read_text().partition("COPY --from=build")[2] for name in DOCKERFILES]
    assert ends[0]
    assert ends[0] == ends[1]
