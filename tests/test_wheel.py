"""What is installed is what users get: the wheel holds everything, and a bare install moves bytes."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("llstore-*.whl"))


def test_the_wheel_holds_every_source_file(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("llstore/")}
    sources = {
        f"llstore/{path.relative_to(ROOT).as_posix()}"
        for room in ("store", "runner", "cli")
        for pattern in ("*.py", "py.typed")
        for path in (ROOT / room).rglob(pattern)
    }
    assert packed == sources


def test_a_bare_install_compiles_nothing_and_puts_gets_and_lists(wheel: Path, tiny: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    python, llstore = tmp_path / "bare/bin/python", tmp_path / "bare/bin/llstore"
    # Only wheels may be used: anything that wanted a compiler would fail here.
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--only-binary", ":all:", wheel], check=True)
    environment = {**os.environ, "LLSTORE_HOME": str(tmp_path / "home")}

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([llstore, *words], env=environment, capture_output=True, text=True)

    digest = run("put", tiny, "--name", "t/tiny").stdout.strip()
    path = Path(run("get", "t/tiny").stdout.strip())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest.removeprefix("sha256:")
    assert "t/tiny:latest" in run("list").stdout
    refusal = run("run", "t/tiny", "-p", "hi")
    assert (refusal.returncode, refusal.stderr.count("\n")) == (1, 1)
    assert "pip install 'llstore[run]'" in refusal.stderr
    refusal = run("import", "hf://org/repo")
    assert (refusal.returncode, refusal.stderr.count("\n")) == (1, 1)
    assert "pip install 'llstore[hf]'" in refusal.stderr
    assert "llama-cpp-python: " in run("doctor").stdout
