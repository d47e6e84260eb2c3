"""Journal entries: what each operation on a store writes down (docs/bucket-format.md)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .digest import Digest
from .manifest import Manifest
from .ref import Name

Notes = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal entry: its ULID and its document."""

    ulid: str
    document: dict[str, Any]

    @property
    def op(self) -> str:
        """What was done."""
        return str(self.document.get("op"))


def put_entry(manifest: Manifest, *, intent: str = "") -> dict[str, Any]:
    """A model is in the store; the put that had the intent of that ULID is over."""
    ended = {"intent": intent} if intent else {}
    return {"op": "put", "model": str(manifest.model), "manifest": manifest.document(), **ended}


def remove_entry(model: Digest) -> dict[str, Any]:
    """A model is no longer in the store; its bytes go when a collector comes by."""
    return {"op": "remove", "model": str(model)}


def tag_entry(name: Name, model: Digest) -> dict[str, Any]:
    """A name points to a model."""
    return {"op": "tag", "name": str(name), "model": str(model)}


def untag_entry(name: Name) -> dict[str, Any]:
    """A name points nowhere."""
    return {"op": "untag", "name": str(name)}


def label_entry(model: Digest, labels: Notes, *, annotations: Notes | None = None) -> dict[str, Any]:
    """A model has labels and annotations; a key given again has its new value, or none at all when that is null."""
    noted = {"annotations": dict(annotations)} if annotations else {}
    return {"op": "label", "model": str(model), "labels": dict(labels), **noted}


def intent_entry(digests: Iterable[Digest]) -> dict[str, Any]:
    """Someone is about to rely on these blobs: no sweep may take them for 7 days."""
    return {"op": "intent", "digests": [str(digest) for digest in digests]}


def ended_entry(intent: str) -> dict[str, Any]:
    """The intent of that ULID is over: its blobs were those of a live model already."""
    return {"op": "intent", "digests": [], "intent": intent}


def sweep_entry(digests: Iterable[Digest], *, until: float) -> dict[str, Any]:
    """A collector may delete these blobs until then, in the store's seconds since 1970."""
    return {"op": "sweep", "digests": [str(digest) for digest in digests], "until": until}


def swept_entry(sweep: str) -> dict[str, Any]:
    """The sweep of that ULID is over before its time: nobody needs to wait for it."""
    return {"op": "sweep", "digests": [], "sweep": sweep}
