"""A bucket in a folder: on this machine's disk, or on one that several machines mount."""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_ISREG

from ..closing import Closing
from ..disk import READ_ONLY, disk_errors, read_chunks, sync_folder
from ..errors import BucketNotFound, KeyNotFound
from ..layout import PARTIAL
from ..transfer.partial import beside, partials, remove
from .base import Properties, Stat


class LocalBackend(Closing):
    """The objects are files under `root`, mode 0444; what is being written lies in `root/partial`."""

    def __init__(self, root: Path) -> None:
        self.properties = Properties(url=root.as_uri())
        self._root = root

    def stat(self, key: str) -> Stat:
        """See Backend."""
        try:
            status = (self._root / key).stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._absent(key) from error
        if not S_ISREG(status.st_mode):
            raise self._absent(key)
        return Stat(key, status.st_size, status.st_mtime)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Backend."""
        self.stat(key)
        with disk_errors(self._root / key):
            yield from read_chunks(self._root / key, start=start, length=length)

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """See Backend."""
        self._require_root()
        self._tidy()
        with beside(self._root / PARTIAL, size=size) as part:
            for chunk in chunks:
                part.write(chunk)
            part.commit(self._root / key, mode=READ_ONLY)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        """See Backend."""
        self._require_root()
        for key in _keys(self._root, folder=prefix.rpartition("/")[0]):
            if key.startswith(prefix) and key > after:
                yield self.stat(key)

    def delete(self, key: str) -> None:
        """See Backend."""
        path = self._root / key
        with disk_errors(path):
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync_folder(path.parent)

    def clock(self) -> float:
        """See Backend."""
        return time.time()

    def _tidy(self) -> None:
        # What killed writers left can be taken up by nobody: a write begins anew. Part files of gets are not touched.
        for partial in partials(self._root / PARTIAL):
            if not partial.alive and partial.digest is None:
                remove(partial)

    def _require_root(self) -> None:
        if not self._root.is_dir():
            raise BucketNotFound(f"no store folder {self._root}", hint=f"create it first: mkdir -p {self._root}")

    def _absent(self, key: str) -> Exception:
        self._require_root()
        return KeyNotFound(f"no object {key} in {self._root}")


def _keys(root: Path, *, folder: str) -> Iterator[str]:
    found = []
    for parent, folders, files in os.walk(root / folder):
        if Path(parent) == root:
            folders[:] = [name for name in folders if name != PARTIAL]
        found += [(Path(parent) / name).relative_to(root).as_posix() for name in files]
    yield from sorted(found)
