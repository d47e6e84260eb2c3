"""The README's commands are run as they stand."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from llstore.cli.main import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_readme_opens_with_the_two_commands() -> None:
    assert blocks("sh")[0].split("\n")[:2] == [line for line in blocks("sh")[0].split("\n") if line.startswith("make ")]
    assert re.findall(r"^make (\w+)", blocks("sh")[0], flags=re.MULTILINE) == ["demo", "test"]


def test_the_tour_prints_what_it_says(smollm2: Path, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(smollm2)
    environment = {
        **os.environ,
        "LLSTORE_HOME": str(tmp_path / "home"),
        "LLSTORE_STORE": bucket,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    tour = next(block for block in blocks("console") if "llstore put" in block)
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", tour, flags=re.MULTILINE):
        ran = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, (command, ran.stderr)
        for line in expected.splitlines():
            assert line in ran.stdout, (command, ran.stdout)


@pytest.mark.parametrize("line", re.findall(r"llstore [a-z]+[^`\n]*", "\n".join(blocks("sh") + blocks("console"))))
def test_every_flag_in_the_readme_exists(line: str) -> None:
    words = shlex.split(line, comments=True)
    command = get_command(app).commands[words[1]]
    known = {flag for parameter in command.params for flag in parameter.opts}
    assert {word for word in words[2:] if word.startswith("--")} <= known
