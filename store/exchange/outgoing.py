"""What leaves a store: which models, and where the bytes of each blob are read from."""

from collections.abc import Iterable

from ..blocks import BlockList
from ..digest import Digest
from ..disk import read_chunks
from ..errors import Damaged, KeyNotFound, ModelNotFound
from ..fingerprint import Fingerprint, fingerprint
from ..layout import blob_key, blocks_key
from ..manifest import FileEntry
from ..model import Model
from ..progress import silent
from ..put import Examined
from ..ref import Ref
from ..store import Store
from .ranged import Stored, in_file


def chosen(store: Store, refs: Iterable[Ref]) -> list[Model]:
    """The models that refs mean, each once, by digest, with what is said of them as of now (offline: the last sync)."""
    store.sync()
    models = {model.digest: model for model in map(store.model, refs)}
    return [models[digest] for digest in sorted(models)]


def supply(store: Store, entry: FileEntry) -> Examined:
    """A blob of the store: from this machine when it is cached, else from the bucket. Nothing of it is trusted.

    Raises ModelNotFound offline, and Damaged.
    """
    path = store.cache.find(entry.digest, silent)
    if path:
        kept = store.cache.block_list(entry.digest)
        blocks = kept if kept and fits(kept, entry) else _blocks_of(read_chunks(path), entry, store)
        return Examined(in_file(entry, path), Fingerprint(entry.digest, blocks))
    if store.offline:
        raise ModelNotFound(f"{entry.digest} is not on this machine", hint="run it once without --offline")
    return Examined(Stored(entry, store.bucket.backend), Fingerprint(entry.digest, _stored_blocks(store, entry)))


def fits(blocks: BlockList, entry: FileEntry) -> bool:
    """Whether it is the block list that the manifest names."""
    return blocks.size == entry.size and Digest.of(blocks.encode()) == entry.blocks


def _stored_blocks(store: Store, entry: FileEntry) -> BlockList:
    backend = store.bucket.backend
    try:
        blocks = BlockList.decode(b"".join(backend.read(blocks_key(entry.digest))))
        if fits(blocks, entry):
            return blocks
    except (KeyNotFound, Damaged):
        pass
    try:
        return _blocks_of(backend.read(blob_key(entry.digest)), entry, store)
    except KeyNotFound as error:
        raise Damaged(f"{store.url} lists {entry.digest} but lacks its bytes", hint="put the file again") from error


def _blocks_of(chunks: Iterable[bytes], entry: FileEntry, store: Store) -> BlockList:
    # It follows from the bytes: one more reading makes it anew.
    found = fingerprint(chunks)
    if found.digest != entry.digest:
        raise Damaged(f"{store.url} holds wrong bytes for {entry.digest}: they are {found.digest}")
    return found.blocks
