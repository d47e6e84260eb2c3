"""A bundle: models in one tar file, with all that a bucket holds of them (docs/exchange.md).

llstore.json, bundle.json, bundle.sha256, then manifests/…, blocks/… and blobs/…, each sorted. `bundle.json` says which
models there are, and what is said of them. Nothing in it depends on when or where it was made.
"""

import json
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from ..blocks import BLOCK_SIZE, BlockList
from ..closing import Closing
from ..digest import Digest
from ..disk import disk_errors
from ..errors import Damaged, FileNotThere, FormatTooNew, LockBroken, StoreError, Unsafe
from ..fingerprint import Fingerprint
from ..layout import FORMAT, FORMAT_KEY, blob_key, blocks_key, manifest_key
from ..lock.reading import load
from ..manifest import FileEntry, Manifest, canonical
from ..model import Model
from ..put import Examined
from ..ref import Name
from .outgoing import fits
from .ranged import Absent, in_file
from .tar import TarReader

VERSION = 1
INDEX_KEY = "bundle.json"
SUM_KEY = "bundle.sha256"
_UPGRADE = "upgrade: pip install -U llstore"
_MOST_INDEX = 256 * 1024 * 1024  # bytes
_MOST_MANIFEST = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Index:
    """Which models a bundle has, by digest, and which of their blobs it was made without."""

    models: tuple[Model, ...]
    left_out: tuple[Digest, ...] = ()

    @property
    def files(self) -> dict[Digest, FileEntry]:
        """The blobs of the models, by digest."""
        found = {file.digest: file for model in self.models for file in model.manifest.files}
        return {digest: found[digest] for digest in sorted(found)}

    def encode(self) -> bytes:
        """The bundle's index as it is stored."""
        return canonical(
            {
                "bundle": VERSION,
                "left_out": [str(digest) for digest in self.left_out],
                "models": [_document(model) for model in self.models],
            }
        )


def checksum(index: bytes) -> bytes:
    """What `sha256sum` prints for the index: all else in a bundle is named by hashes in it."""
    return f"{Digest.of(index).hex}  {INDEX_KEY}\n".encode()


def _document(model: Model) -> dict[str, Any]:
    return {
        "annotations": model.annotations,
        "labels": model.labels,
        "manifest": str(model.manifest.digest),
        "model": str(model.digest),
        "names": sorted(model.names),
    }


class Bundle(Closing):
    """A bundle that is read. When it is open, all of it is there and in order; the bytes of blobs were not read yet.

    Raises Damaged, Unsafe when it is none, or FormatTooNew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open(path)
        try:
            self._tar = TarReader(self._file, path=path)
            self.index = self._read_index()
            self._blocks = {digest: self._read_blocks(file) for digest, file in self.index.files.items()}
            sent = (file for digest, file in self.index.files.items() if digest not in self.index.left_out)
            self._starts = {file.digest: self._tar.expect(blob_key(file.digest), file.size) for file in sent}
            self._tar.end()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def supply(self, entry: FileEntry) -> Examined:
        """A blob of a model that is in the bundle."""
        found = Fingerprint(entry.digest, self._blocks[entry.digest])
        if entry.digest not in self._starts:
            return Examined(Absent(entry, label=str(self.path)), found)
        return Examined(in_file(entry, self.path, start=self._starts[entry.digest]), found)

    def _read_index(self) -> Index:
        about = self._tar.take(FORMAT_KEY, most=1024)
        if about != canonical({"format": FORMAT}):
            raise FormatTooNew(f"{self.path} is in another format than {FORMAT}", hint=_UPGRADE)
        data = self._tar.take(INDEX_KEY, most=_MOST_INDEX)
        if self._tar.take(SUM_KEY, most=1024) != checksum(data):
            raise self._damaged("its index is not the one that its checksum is of")
        document = self._json(data)
        if document.get("bundle") != VERSION:
            raise FormatTooNew(f"{self.path} was written by a later llstore", hint=_UPGRADE)
        try:
            models = tuple(self._read_model(entry) for entry in document["models"])
            index = Index(models, tuple(map(Digest.parse, document["left_out"])))
        except (FormatTooNew, Damaged):
            raise
        except (KeyError, TypeError, ValueError, AttributeError, StoreError) as error:
            raise self._damaged(f"its index is wrong: {error}") from error
        digests = [model.digest for model in models]
        if digests != sorted(set(digests)) or not set(index.left_out) <= set(index.files):
            raise self._damaged("its index is not in order")
        return index

    def _read_model(self, entry: dict[str, Any]) -> Model:
        model = Digest.parse(entry["model"])
        data = self._tar.take(manifest_key(model), most=_MOST_MANIFEST)
        if Digest.of(data) != Digest.parse(entry["manifest"]):
            raise self._damaged(f"the manifest of {model} is another")
        manifest = Manifest.decode(data)
        if manifest.model != model:
            raise self._damaged(f"the manifest of {model} describes {manifest.model}")
        labels, annotations = _texts(entry["labels"]), _texts(entry["annotations"])
        return Model(manifest, tuple(str(Name.parse(name)) for name in entry["names"]), labels, annotations)

    def _read_blocks(self, file: FileEntry) -> BlockList:
        size = len(BlockList(file.size, ()).encode()) + 32 * -(-file.size // BLOCK_SIZE)
        blocks = BlockList.decode(self._tar.take(blocks_key(file.digest), most=size))
        if not fits(blocks, file):
            raise self._damaged(f"the block list of {file.digest} is another")
        return blocks

    def _json(self, data: bytes) -> dict[str, Any]:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise self._damaged("its index is not JSON")
        return document

    def _damaged(self, why: str) -> Damaged:
        return Damaged(f"{self.path}: {why}", hint="export it, or copy it, again")


def digests_in(base: Path) -> frozenset[Digest]:
    """The blobs that whoever has `base` has already: the files of a bundle's models, or of a llstore.lock's.

    Raises LockBroken when it is neither.
    """
    with _open(base) as file, disk_errors(base):
        start = file.read(262)
    if start[257:] == b"ustar":
        with Bundle(base) as bundle:
            return frozenset(bundle.index.files)
    try:
        return frozenset(file.digest for model in load(base).models for file in model.files)
    except LockBroken as error:
        raise LockBroken(f"{base} is neither a bundle nor a lock that holds: {error}") from error


def _texts(found: Any) -> dict[str, str]:
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in found.items()):
        raise TypeError("a label is no text")
    return dict(found)


def _open(path: Path) -> BufferedReader:
    if not path.exists():
        raise FileNotThere(f"no file {path}")
    if not path.is_file():
        raise Unsafe(f"{path} is not a regular file")
    with disk_errors(path):
        return path.open("rb")
