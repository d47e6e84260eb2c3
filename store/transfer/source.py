"""A file on its way into a store: looked at, hashed, and read again block by block for the upload."""

import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from ..blocks import BLOCK_SIZE
from ..disk import disk_errors, hot_chunks
from ..errors import DiskError, FileNotThere, SourceChanged, Unsafe
from ..fingerprint import Fingerprint, fingerprint
from ..gguf import GgufHeader, read_header
from ..progress import Progress
from .supply import Supply


class Source(Supply):
    """An open regular file. Everything is read through one descriptor: a swapped name changes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)
        self._file = _open(path)
        self.size = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def header(self) -> GgufHeader:
        """The file's GGUF header; raises Unsafe when it is not a whole GGUF."""
        try:
            with disk_errors(self.path):
                self._file.seek(0)
                return read_header(self._file, self.size)
        except Unsafe as error:
            hint = "pass --role other to store it as it is" if self.size else ""
            raise Unsafe(f"{self.path} {error}", hint=hint) from error

    def fingerprint(self, progress: Progress) -> Fingerprint:
        """What the file's bytes are: the first pass."""
        return fingerprint(self._chunks(progress))

    def blocks(self, found: Fingerprint, progress: Progress) -> Iterator[bytes]:
        """The bytes again, in blocks, each checked against the first pass before it leaves; raises SourceChanged."""
        count = 0
        for index, block in enumerate(self._blocks(progress)):
            if not found.blocks.holds(index, block):
                raise self._changed()
            count += 1
            yield block
        if count != len(found.blocks.hashes):
            raise self._changed()

    def _chunks(self, progress: Progress) -> Iterator[memoryview]:
        done = 0
        progress("hash", 0, self.size)
        with disk_errors(self.path):
            for chunk in hot_chunks(self._file):
                yield chunk
                done += len(chunk)
                progress("hash", done, self.size)

    def _blocks(self, progress: Progress) -> Iterator[bytes]:
        done = 0
        progress("upload", 0, self.size)
        self._file.seek(0)
        while block := self._next():
            yield block
            done += len(block)
            progress("upload", done, self.size)

    def _next(self) -> bytes:
        # A block is given away whole, and its memory with it: several are on their way at once.
        with disk_errors(self.path):
            return self._file.read(BLOCK_SIZE)

    def _changed(self) -> SourceChanged:
        return SourceChanged(
            f"{self.path} changed while it was being put; nothing was stored",
            hint="put it again when nothing writes to it",
        )


def _open(path: Path) -> BufferedReader:
    try:
        if path.is_dir():
            raise DiskError(f"{path} is a folder", hint="put one file")
        if path.exists() and not path.is_file():
            raise DiskError(f"{path} is not a regular file", hint="write it to a file first: its bytes are read twice")
        with disk_errors(path):
            return path.open("rb")
    except DiskError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise FileNotThere(f"no file {path}") from error
        raise
