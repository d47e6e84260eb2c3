"""A file on this machine whose SHA-256 is known before it is read, and that may become a blob without being copied."""

import os
from enum import Enum
from pathlib import Path

from ..backends import Backend
from ..blocks import BLOCK_SIZE
from ..digest import Digest
from ..disk import READ_ONLY, disk_errors, link, make_folder, sync_folder
from ..errors import Damaged
from ..fingerprint import Fingerprint
from ..layout import PARTIAL, blob_key
from ..progress import Progress
from ..transfer.partial import beside
from ..transfer.source import Source


class Way(Enum):
    """How a file becomes a blob of a store on this machine."""

    SHARE = "share"  # another file with the same bytes, which the file system keeps once where it can
    LINK = "link"  # the same file, under a second name
    GIVE = "give"  # the same file, which is nobody else's any more


class Placed(Source):
    """A source whose bytes are sent to a bucket, but not to the store in `folder` (None: there is none).

    Its digest must be `expected`, unless that is None.
    """

    def __init__(self, path: Path, *, expected: Digest | None, folder: Path | None, way: Way) -> None:
        super().__init__(path)
        self._expected = expected
        self._folder = folder
        self._way = way

    def fingerprint(self, progress: Progress) -> Fingerprint:
        """See Source; raises Damaged when it is not the file that it should be."""
        found = super().fingerprint(progress)
        if self._expected and found.digest != self._expected:
            raise Damaged(f"{self.path} is damaged: its digest is {found.digest}, not {self._expected}")
        return found

    def send(self, backend: Backend, found: Fingerprint, progress: Progress) -> None:
        """See Supply."""
        if self._folder is None or not self._place(self._folder, found):
            super().send(backend, found, progress)

    def _place(self, folder: Path, found: Fingerprint) -> bool:
        target = folder / blob_key(found.digest)
        if self._way is Way.SHARE:
            return self._share(folder, target, found)
        with disk_errors(self.path):
            os.fsync(self._file.fileno())
            if self._way is Way.GIVE:
                os.fchmod(self._file.fileno(), READ_ONLY & os.fstat(self._file.fileno()).st_mode)
            make_folder(target.parent)
        link(self.path, target, replace=True)
        with disk_errors(target):
            sync_folder(target.parent)
        return True

    def _share(self, folder: Path, target: Path, found: Fingerprint) -> bool:
        with beside(folder / PARTIAL, size=0) as part:
            if not part.share(self._file):
                return False
            # It may have been written to since it was hashed.
            block = memoryview(bytearray(BLOCK_SIZE))
            for index in range(len(found.blocks.hashes)):
                if not found.blocks.holds(index, block[: part.read_at(index * BLOCK_SIZE, block)]):
                    raise self._changed()
            part.commit(target, mode=READ_ONLY)
        return True
