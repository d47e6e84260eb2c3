"""Bytes and names: models in a bucket under their SHA-256, and this machine's verified copies of them."""

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
