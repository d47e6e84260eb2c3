"""Writing a bundle."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..digest import Digest
from ..disk import PartFile
from ..layout import FORMAT, FORMAT_KEY, blob_key, blocks_key, manifest_key
from ..manifest import FileEntry, canonical
from ..model import Model
from ..progress import Progress, silent
from ..put import Examined
from ..ref import Ref
from ..store import Store
from ..target import Target, check
from . import tar
from .bundle import INDEX_KEY, SUM_KEY, Index, checksum
from .outgoing import chosen, supply


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that was written: its models, its size in bytes, and the blobs that it was made without."""

    path: Path
    models: tuple[Model, ...]
    size: int
    left_out: tuple[Digest, ...]


def export_bundle(
    store: Store,
    refs: Iterable[Ref],
    target: Target,
    *,
    without: frozenset[Digest] = frozenset(),
    progress: Progress = silent,
) -> Exported:
    """Write the models that refs mean into one file, leaving out blobs that whoever reads it has already.

    Every byte is hashed on its way. Raises FileKept when the file exists and may not be replaced; Damaged.
    """
    check(target)
    models = chosen(store, refs)
    files = Index(tuple(models)).files
    index = Index(tuple(models), tuple(digest for digest in files if digest in without))
    blobs = {digest: supply(store, file) for digest, file in files.items()}
    with PartFile.beside(target.path.parent, size=_size(index, blobs)) as part:
        sent = _Sent(part, progress, total=sum(file.size for file in files.values() if file.digest not in without))
        sent.small(_small(index, blobs))
        for digest, file in files.items():
            if digest not in without:
                sent.blob(file, blobs[digest])
        part.write(tar.END)
        part.commit(target.path, replace=target.force)
    return Exported(target.path, index.models, target.path.stat().st_size, index.left_out)


class _Sent:
    def __init__(self, part: PartFile, progress: Progress, *, total: int) -> None:
        self._part = part
        self._progress = progress
        self._done = 0
        self._total = total

    def small(self, members: Iterable[tuple[str, bytes]]) -> None:
        for name, data in members:
            self._part.write(tar.header(name, len(data)) + data + tar.padding(len(data)))

    def blob(self, file: FileEntry, examined: Examined) -> None:
        self._part.write(tar.header(blob_key(file.digest), file.size))
        with examined.source:
            for block in examined.source.blocks(examined.found, silent):
                self._part.write(block)
                self._done += len(block)
                self._progress("export", self._done, self._total)
        if padding := tar.padding(file.size):
            self._part.write(padding)


def _small(index: Index, blobs: dict[Digest, Examined]) -> Iterator[tuple[str, bytes]]:
    yield FORMAT_KEY, canonical({"format": FORMAT})
    yield INDEX_KEY, index.encode()
    yield SUM_KEY, checksum(index.encode())
    for model in index.models:
        yield manifest_key(model.digest), model.manifest.encode()
    for digest, examined in blobs.items():
        yield blocks_key(digest), examined.found.blocks.encode()


def _size(index: Index, blobs: dict[Digest, Examined]) -> int:
    small = sum(tar.length(name, len(data)) for name, data in _small(index, blobs))
    sent = (file for digest, file in index.files.items() if digest not in index.left_out)
    return small + sum(tar.length(blob_key(file.digest), file.size) for file in sent) + len(tar.END)
