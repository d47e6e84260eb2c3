"""Where builds of llama.cpp are kept on this machine: one folder a key, for all clones of one user."""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from failures import InstallError
from logged_run import EVERY_S, say

_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class BuildFolder:
    """One build: its source, objects and tools while it is under way, its wheel and log afterwards."""

    path: Path

    @property
    def source(self) -> Path:
        return self.path / "source"

    @property
    def objects(self) -> Path:
        return self.path / "build"

    @property
    def tools(self) -> Path:
        return self.path / "tools"

    @property
    def log(self) -> Path:
        return self.path / "build.log"

    def wheel(self) -> Path | None:
        """The finished wheel: it comes here by a rename, so it is whole."""
        return next(self.path.glob("*.whl"), None)

    def empty(self) -> None:
        """Removes what only a build under way needs, some 250 MB."""
        for folder in (self.source, self.objects, self.tools):
            shutil.rmtree(folder, ignore_errors=True)


def cache_root(environment: Mapping[str, str], *, system: str = sys.platform) -> Path:
    """LLSTORE_BUILD_CACHE, or a folder among the user's caches."""
    if said := environment.get("LLSTORE_BUILD_CACHE"):
        return Path(said).absolute()
    if system == "darwin":
        return Path.home() / "Library" / "Caches" / "llstore-build"
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llstore-build"


@contextmanager
def exclusive(folder: BuildFolder) -> Iterator[int]:
    """One build at a time in a folder: a locked descriptor, of an empty file.

    A process that inherits the descriptor holds the lock, too; the system lets go of it when the last one ended.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        hint = "name a folder that can be written with LLSTORE_BUILD_CACHE"
        raise InstallError(f"{folder.path} cannot be used: {error.strerror}", hint=hint) from error
    try:
        _wait_for(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    began = last = time.monotonic()
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_LOOK_S)
        now = time.monotonic()
        if not told or now - last >= EVERY_S:
            say(f"another process compiles the same llama.cpp: waiting for it, {now - began:.0f} s")
            told, last = True, now
