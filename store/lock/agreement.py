"""Where a lock disagrees with its project, and with manifests. Plain functions over plain facts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ..manifest import Manifest
from .lockfile import FILE, Locked, Lockfile
from .project import Wanted

Kind = Literal["project", "absent", "differs", "moved", "removed"]

_FACTS = ("architecture", "parameters", "quantization", "license", "template")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Something that the lock says of the model `name` and that is not so."""

    name: str
    kind: Kind
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


def with_project(lock: Lockfile, wanted: Iterable[Wanted]) -> list[Disagreement]:
    """Where the lock is not what llstore.toml wants, by name."""
    asked = {one.name: one for one in wanted}
    found = []
    for name in sorted({*asked, *(model.name for model in lock.models)}):
        for message in _apart(asked.get(name), lock.find(name)):
            found.append(Disagreement(name, "project", message))
    return found


def with_manifest(locked: Locked, manifest: Manifest) -> list[Disagreement]:
    """Where a manifest is not that of the locked model.

    The files decide, each with its role, size and block list: they are all that is fetched. The manifest's own digest
    does not, for a later llstore may read more facts from the same header; only a fact that both know must be the same.
    """
    return [Disagreement(locked.name, "differs", message) for message in _otherwise(locked, manifest)]


def _apart(wanted: Wanted | None, locked: Locked | None) -> Iterator[str]:
    if not locked or not wanted:
        yield f"is in llstore.toml and not in {FILE}" if wanted else f"is in {FILE} and not in llstore.toml"
        return
    if wanted.meaning != locked.meaning:
        yield f"llstore.toml says {wanted.ref}, {FILE} {locked.ref}"
    for what, asked, known in (
        ("roles", wanted.roles, locked.roles),
        ("profiles", wanted.profiles, locked.profiles),
    ):
        if asked != known:
            yield f"llstore.toml says {what} {_listed(asked)}, {FILE} {_listed(known)}"


def _otherwise(locked: Locked, manifest: Manifest) -> Iterator[str]:
    if locked.digest != manifest.model:
        yield f"{FILE} says {locked.digest}, its manifest {manifest.model}"
        return
    if len(locked.files) != len(manifest.files):
        yield f"{FILE} says {len(locked.files)} files, its manifest {len(manifest.files)}"
        return
    for ours, theirs in zip(locked.files, manifest.files, strict=True):
        for key in ("role", "digest", "size", "blocks"):
            if getattr(ours, key) != getattr(theirs, key):
                file = f"of {ours.digest.short} " if key != "digest" else ""
                yield f"{FILE} says the {key} {file}is {getattr(ours, key)}, its manifest {getattr(theirs, key)}"
    for key in _FACTS:
        said, known = getattr(locked, key), getattr(manifest.facts, key)
        if said is not None and known is not None and said != known:
            yield f"{FILE} says {key} {said}, its manifest {known}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "all"
