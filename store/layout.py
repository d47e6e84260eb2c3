"""Where things lie, in a bucket and in a cache folder alike (docs/bucket-format.md)."""

from .digest import Digest

FORMAT = 1
FORMAT_KEY = "llstore.json"
JOURNAL = "journal/"
SNAPSHOT_KEY = "snapshots/latest.jsonl.gz"
PARTIAL = "partial"
QUARANTINE = "quarantine"


def blob_key(digest: Digest) -> str:
    """The file's own bytes, whole."""
    return f"blobs/sha256/{digest.hex[:2]}/{digest.hex}"


def blocks_key(digest: Digest) -> str:
    """The block list of a blob."""
    return f"blocks/sha256/{digest.hex[:2]}/{digest.hex}"


def manifest_key(model: Digest) -> str:
    """The manifest of a model id."""
    return f"manifests/sha256/{model.hex[:2]}/{model.hex}"


def journal_key(ulid: str) -> str:
    """One journal entry."""
    return f"{JOURNAL}{ulid}.json"
