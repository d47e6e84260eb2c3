"""uv, installed by pip into the environment that it then fills, and pip where uv has no such command."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from build_folder import BuildFolder
from locked import TOOLS, Pin, pins
from logged_run import Command, run_logged
from pip_settings import UvSettings, read_settings

_QUIET_PIP = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")


@dataclass(frozen=True, slots=True)
class Uv:
    """The uv of one virtual environment, heeding pip's settings."""

    venv: Path
    settings: UvSettings
    environment: Mapping[str, str]

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    def make_environment(self, folder: Path, *, log: Path) -> None:
        """A virtual environment of the same Python, without pip."""
        words: list[str | Path] = ["venv", "--quiet", "--clear", "--python", self.python, folder]
        self._run(words, failure=f"{folder} was not made", log=log)

    def install(
        self,
        packages: Sequence[str | Path],
        *,
        python: Path,
        lock: Path,
        log: Path,
        options: Sequence[str] = (),
    ) -> None:
        """Installs packages at the lock's versions, after their hashes were checked; what is there stays."""
        words: list[str | Path] = [
            "pip",
            "install",
            "--python",
            python,
            "--constraints",
            lock,
            "--build-constraints",
            TOOLS,
        ]
        words += [*self.settings.arguments, *options, *packages]
        self._run(words, failure=f"{', '.join(map(str, packages))} was not installed", log=log)

    def compile_lock(self, sources: Sequence[str | Path], lock: Path, *, log: Path, options: Sequence[str]) -> None:
        """Writes what `sources` require, and what that requires in turn, with versions and hashes."""
        words: list[str | Path] = [
            "pip",
            "compile",
            "--quiet",
            *sources,
            *self.settings.arguments,
            *options,
            "--output-file",
            lock,
        ]
        self._run(words, failure=f"{lock.name} was not written", log=log)

    def download_archive(self, requirements: Path, folder: BuildFolder, *, environment: Mapping[str, str]) -> None:
        """Brings the source archive of a requirement, by pip: uv has no download. Our tools make its metadata."""
        words: list[str | Path] = [
            self.python,
            "-m",
            "pip",
            "--python",
            folder.tools / "bin" / "python",
            "download",
            *_QUIET_PIP,
        ]
        words += ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
        words += ["--dest", folder.path, "--requirement", requirements]
        command = Command(words, "the source of llama.cpp was not downloaded", environment)
        run_logged(command, log=folder.log, progress=lambda seconds: f"downloading llama.cpp, {seconds} s")

    def _run(self, words: Sequence[str | Path], *, failure: str, log: Path) -> None:
        # Compiling all modules takes as long as installing them: Python does it at use, unless it is told to keep none.
        # Then every command would compile again what it imports, and take twice as long.
        compiling = {"UV_COMPILE_BYTECODE": "1"} if self.environment.get("PYTHONDONTWRITEBYTECODE") else {}
        environment = {**compiling, **self.environment, **self.settings.environment}
        command = Command([self.venv / "bin" / "uv", *words], failure, environment)
        run_logged(command, log=log, progress=lambda seconds: f"installing, {seconds} s")


def install_uv(venv: Path, environment: Mapping[str, str], *, log: Path) -> Uv:
    """uv at the lock's version, in `venv`, which has pip."""
    python = venv / "bin" / "python"
    with write_requirements([pins(TOOLS.read_text())["uv"]]) as requirements:
        words: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            *_QUIET_PIP,
            "--no-deps",
            "--require-hashes",
            "-r",
            requirements,
        ]
        command = Command(words, "uv was not installed", environment)
        run_logged(command, log=log, progress=lambda seconds: f"installing uv, {seconds} s")
    return Uv(venv, read_settings(python), environment)


@contextmanager
def write_requirements(wanted: Iterable[Pin]) -> Iterator[Path]:
    """A requirements file whose hashes pip verifies."""
    with tempfile.TemporaryDirectory(prefix="llstore-install-") as folder:
        path = Path(folder) / "requirements.txt"
        path.write_text("".join(f"{pin.requirement}\n" for pin in wanted))
        yield path
