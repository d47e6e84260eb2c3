"""The journal of a batch, beside its output for as long as the batch is not done."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...store.closing import Closing
from ...store.disk import PartFile, disk_errors, sync_folder
from .records import Record, decode, encode, header

SUFFIX = ".llstore"


class Journal(Closing):
    """A file that records are appended to. Raises DiskError, NoSpace."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._fd = -1

    @classmethod
    def beside(cls, output: Path) -> "Journal":
        """That of the batch that writes `output`."""
        return cls(output.with_name(output.name + SUFFIX))

    @property
    def exists(self) -> bool:
        """Whether a batch was begun and not done."""
        return self.path.is_file()

    @property
    def is_open(self) -> bool:
        """Whether it takes records."""
        return self._fd >= 0

    def read(self) -> tuple[dict[str, Any], list[Record]]:
        """The settings and the records in it. Raises OtherBatch, FormatTooNew."""
        with disk_errors(self.path):
            data = self.path.read_bytes()
        return decode(data)

    def rewrite(self, settings: dict[str, Any], records: Sequence[Record]) -> None:
        """Make these its only records, durably, all or nothing."""
        data = header(settings) + b"".join(map(encode, records))
        with PartFile.beside(self.path.parent) as part:
            part.write(data)
            part.commit(self.path)
        self.close()
        with disk_errors(self.path):
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self.size = len(data)

    def append(self, record: Record) -> None:
        """Add a record; a killed process leaves it, a power cut may not."""
        data = encode(record)
        with disk_errors(self.path):
            write_all(self._fd, data)
        self.size += len(data)

    def sync(self) -> None:
        """Let a power cut leave all that was appended."""
        with disk_errors(self.path):
            os.fsync(self._fd)

    def remove(self) -> None:
        """The batch is done, or begins anew."""
        self.close()
        with disk_errors(self.path):
            self.path.unlink(missing_ok=True)
            sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the file; it stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`: a full disk takes a part of it, and says so only at the next try."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
