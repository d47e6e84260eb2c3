"""Journal entries: what each operation on a store writes down (docs/bucket-format.md)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import ulid
from .digest import Digest
from .manifest import Manifest
from .ref import Name

MOST_AHEAD = 10 * 60  # seconds by which an entry's name may be ahead of its object's age

Notes = Mapping[str, str | None]


# What an entry of each kind says, beside `keeps`: digests that a collector must leave alone, whatever the op.
FIELDS = {
    "put": {"op", "model", "manifest", "intent"},
    "remove": {"op", "model"},
    "tag": {"op", "name", "model"},
    "untag": {"op", "name"},
    "label": {"op", "model", "labels", "annotations"},
    "intent": {"op", "digests", "intent"},
    "sweep": {"op", "digests", "until", "sweep"},
}
KEEPS = "keeps"
_DATED = (
    "tag",
    "untag",
    "label",
    "remove",
)  # take effect when they were written; a put keeps its bytes whenever it was


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal entry: its ULID and its document.

    `moment` orders what entries do to one another: the ULID, or what `dated` made of it.
    """

    ulid: str
    document: dict[str, Any]
    moment: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "moment", self.moment or self.ulid)

    @property
    def op(self) -> str:
        """What was done."""
        return str(self.document.get("op"))

    @property
    def keeps(self) -> set[Digest]:
        """Digests that no collector may take. Raises InvalidRef or TypeError for what is none."""
        return {Digest.parse(text) for text in self.document.get(KEEPS, ())}

    def dated(self, modified: float, *, first: str) -> "Entry":
        """This entry with its moment, its object having been written at `modified` (the store's seconds since 1970).

        The clock of a writer may have run ahead: a name is believed for MOST_AHEAD seconds. But dates that a copy has
        set, which are before those of the `first` entry of the store, tell nothing.
        """
        ahead = self.op in _DATED and ulid.seconds(self.ulid) > modified + MOST_AHEAD
        if not ahead or modified < ulid.seconds(first):
            return self
        # The whole ULID behind the date: entries of one second keep their order.
        return replace(self, moment=ulid.lowest(modified)[: ulid.TIME] + self.ulid)

    def unknown(self) -> str:
        """Why this llstore does not know all that the entry says; "" when it does."""
        if self.op not in FIELDS:
            return f"{self.op!r} is nothing that this llstore knows"
        more = sorted(self.document.keys() - FIELDS[self.op] - {KEEPS})
        return f"its {self.op} has {', '.join(more)}, which this llstore does not know" if more else ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An object under journal/ that cannot be read, or not wholly: nobody knows which bytes hang on it."""

    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key} is left out: {self.reason}"


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
