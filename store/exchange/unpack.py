"""Bringing a bundle's models into a store."""

from pathlib import Path

from ..digest import Digest
from ..errors import KeyNotFound
from ..layout import blob_key
from ..progress import Progress, silent
from ..store import Store
from .bring import Brought, Terms, bring
from .bundle import Bundle
from .ranged import lacking


def import_bundle(store: Store, path: Path, *, move_names: bool = False, progress: Progress = silent) -> Brought:
    """Bring what the store lacks of a bundle: all of it, or, when a byte is wrong, nothing that anybody would see.

    Names that point elsewhere in the store stay, unless `move_names`. Raises Damaged, Unsafe, FormatTooNew, and
    ModelNotFound when the bundle leaves out blobs that the store lacks.
    """
    with Bundle(path) as bundle:
        # Asked before anything is written.
        store.written  # noqa: B018
        store.sync()
        _check_base(store, bundle)
        terms = Terms(move_names=move_names, whole=True)
        return bring(store, bundle.index.models, bundle.supply, terms=terms, progress=progress)


def _check_base(store: Store, bundle: Bundle) -> None:
    lacked = [model for model in bundle.index.models if not store.catalog.holds(model.digest)]
    needed = {file.digest for model in lacked for file in model.manifest.files} & set(bundle.index.left_out)
    missing = sorted(digest for digest in needed if not _there(store, digest))
    if missing:
        raise lacking(str(bundle.path), missing)


def _there(store: Store, digest: Digest) -> bool:
    try:
        return store.bucket.backend.stat(blob_key(digest)).size > 0
    except KeyNotFound:
        return False
