"""What was found damaged, kept under `<hex>.<ulid>`: most of its blocks are right, and may be nowhere else."""

import time
from pathlib import Path

from .. import ulid
from ..digest import Digest
from ..disk import disk_errors, make_folder


class Quarantine:
    """The damaged files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, path: Path, digest: Digest) -> None:
        """Move a file here that does not hold `digest`, whatever its name says."""
        aside = self._folder / f"{digest.hex}.{ulid.mint(time.time())}"
        with disk_errors(aside):
            make_folder(aside.parent)
            path.rename(aside)

    def find(self, digest: Digest, *, size: int) -> Path | None:
        """The newest damaged file of that name and size."""
        found = sorted(self._folder.glob(f"{digest.hex}.*"))
        return next((path for path in reversed(found) if path.stat().st_size == size), None)

    def empty(self) -> None:
        """Remove them all."""
        for path in self._folder.glob("*"):
            with disk_errors(path):
                path.unlink(missing_ok=True)
