"""From what a project wants to its lock: refs looked up once, together, and what changed by it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ..digest import Digest
from ..store import Store
from .lockfile import Locked, Lockfile
from .project import Wanted


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the model `name`: added, removed, moved from one digest to another, or only described anew."""

    name: str
    kind: Literal["added", "removed", "moved", "changed"]
    old: Digest | None
    new: Digest | None

    def __str__(self) -> str:
        if self.kind == "moved":
            return f"moved {self.name} from {self.old} to {self.new}"
        return f"{self.kind} {self.name} {self.new or self.old}"


def renew(
    store: Store, wanted: Sequence[Wanted], old: Lockfile | None, *, anew: Collection[str] | None = None
) -> Lockfile:
    """The lock of what is wanted. The names in `anew`, by default all, are looked up in any case; of the others those
    that are new or want another ref, and the rest stays as it is in `old`.

    Raises InvalidProject, and what looking up refs raises.
    """
    names = {one.name for one in wanted} if anew is None else set(anew)
    kept = {one.name: model for one in wanted if (model := _still(one, old)) and one.name not in names}
    asked = [one for one in wanted if one.name not in kept]
    digests = store.resolve_all([one.meaning for one in asked])
    found = {one.name: store.model(digest).manifest for one, digest in zip(asked, digests, strict=True)}
    return Lockfile.of(
        kept[one.name].as_wanted(one) if one.name in kept else Locked.of(one, found[one.name]) for one in wanted
    )


def changes(old: Lockfile | None, new: Lockfile) -> list[Change]:
    """What is in `new` and was not in `old`, by name."""
    before = {model.name: model for model in old.models} if old else {}
    after = {model.name: model for model in new.models}
    return [
        _change(name, before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _still(wanted: Wanted, old: Lockfile | None) -> Locked | None:
    model = old.find(wanted.name) if old else None
    return model if model and model.meaning == wanted.meaning else None


def _change(name: str, old: Locked | None, new: Locked | None) -> Change:
    before, after = old.digest if old else None, new.digest if new else None
    if not old:
        return Change(name, "added", before, after)
    if not new:
        return Change(name, "removed", before, after)
    return Change(name, "moved" if before != after else "changed", before, after)
