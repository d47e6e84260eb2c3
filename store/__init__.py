"""Bytes and names: models in a bucket under their SHA-256, and this machine's verified copies of them."""

from typing import TYPE_CHECKING

from .lazy import lazily

if TYPE_CHECKING:
    from .digest import Digest
    from .errors import StoreError
    from .get import GetResult
    from .manifest import Manifest, Role
    from .model import Model
    from .put import PutRequest, PutResult
    from .ref import Name, Prefix, Ref, parse_ref
    from .settings import Settings
    from .store import Store
    from .transfer.download import Pace
else:
    __getattr__ = lazily(
        __name__,
        {
            "Digest": "digest",
            "GetResult": "get",
            "Manifest": "manifest",
            "Model": "model",
            "Name": "ref",
            "Pace": "transfer.download",
            "Prefix": "ref",
            "PutRequest": "put",
            "PutResult": "put",
            "Ref": "ref",
            "Role": "manifest",
            "Settings": "settings",
            "Store": "store",
            "StoreError": "errors",
            "parse_ref": "ref",
        },
    )

__all__ = [
    "Digest",
    "GetResult",
    "Manifest",
    "Model",
    "Name",
    "Pace",
    "Prefix",
    "PutRequest",
    "PutResult",
    "Ref",
    "Role",
    "Settings",
    "Store",
    "StoreError",
    "parse_ref",
]
