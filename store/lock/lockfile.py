"""llstore.lock: what a project's refs meant when it was made, to the byte. Equal facts give equal bytes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..digest import Digest
from ..disk import PartFile
from ..errors import InvalidProject
from ..manifest import FileEntry, Manifest, Role
from ..ref import Ref, parse_ref
from . import toml
from .project import Wanted

FILE = "llstore.lock"
VERSION = 1

_HEAD = "# Made by `llstore lock` from llstore.toml, and changed by it alone.\n"


@dataclass(frozen=True, slots=True)
class Locked:
    """A model of the lock: the project's name for it, what it asked for, and what that was.

    `manifest` is the digest of the manifest it was made from. `roles` and `profiles` are the project's, as in Wanted.
    """

    name: str
    ref: str
    digest: Digest
    manifest: Digest
    files: tuple[FileEntry, ...]
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    license: str | None = None
    template: Digest | None = None
    roles: tuple[Role, ...] = ()
    profiles: tuple[str, ...] = ()

    @classmethod
    def of(cls, wanted: Wanted, manifest: Manifest) -> "Locked":
        """What is wanted, pinned to that model; raises InvalidProject when the model has no file of a wanted role."""
        facts = manifest.facts
        return cls(
            name=wanted.name,
            ref=wanted.ref,
            digest=manifest.model,
            manifest=manifest.digest,
            files=manifest.files,
            architecture=facts.architecture,
            parameters=facts.parameters,
            quantization=facts.quantization,
            license=facts.license,
            template=facts.template,
        ).as_wanted(wanted)

    def as_wanted(self, wanted: Wanted) -> "Locked":
        """The same model with the project's present words for it; raises InvalidProject as `of` does."""
        there = {file.role for file in self.files}
        if absent := [role for role in wanted.roles if role not in there]:
            raise InvalidProject(
                f"{wanted.name}: {wanted.ref} has no file of the role {', '.join(absent)}",
                hint=f"it has {', '.join(role for role in Role if role in there)}",
            )
        return replace(self, ref=wanted.ref, roles=wanted.roles, profiles=wanted.profiles)

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(file.size for file in self.files)

    @property
    def meaning(self) -> Ref:
        """What the ref refers to, however it is written."""
        return parse_ref(self.ref)

    @property
    def wanted_files(self) -> tuple[FileEntry, ...]:
        """The files that the project wants."""
        return tuple(file for file in self.files if not self.roles or file.role in self.roles)


@dataclass(frozen=True, slots=True)
class Lockfile:
    """The models of a project, by name."""

    models: tuple[Locked, ...] = ()

    @classmethod
    def of(cls, models: Iterable[Locked]) -> "Lockfile":
        """The lock of these models."""
        return cls(tuple(sorted(models, key=lambda model: model.name)))

    def save(self, path: Path) -> None:
        """Write it to `path`, whole or not at all."""
        data = self.encode()
        with PartFile.beside(path.parent, size=len(data)) as part:
            part.write(data)
            part.commit(path)

    def encode(self) -> bytes:
        """The lock as TOML: one fact a line, one file a line."""
        return "".join([_HEAD, f"version = {VERSION}\n", *map(_table, self.models)]).encode()

    def find(self, name: str) -> Locked | None:
        """The model of that name, or None."""
        return next((model for model in self.models if model.name == name), None)

    def of_profiles(self, profiles: Iterable[str]) -> tuple[Locked, ...]:
        """The models of these profiles and those of every profile; all models when no profile is given.

        Raises InvalidProject for a profile that no model is in.
        """
        chosen = set(profiles)
        known = sorted({profile for model in self.models for profile in model.profiles})
        if unknown := sorted(chosen.difference(known)):
            raise InvalidProject(
                f"no model in {FILE} has the profile {', '.join(unknown)}", hint=f"known: {', '.join(known) or 'none'}"
            )
        return tuple(
            model for model in self.models if not chosen or not model.profiles or chosen.intersection(model.profiles)
        )


def _table(model: Locked) -> str:
    return "".join(f"{line}\n" for line in ("", "[[model]]", *_lines(model)))


def _lines(model: Locked) -> Iterator[str]:
    facts: dict[str, str | int | None] = {
        "name": model.name,
        "ref": model.ref,
        "digest": str(model.digest),
        "manifest": str(model.manifest),
        "size": model.size,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "quantization": model.quantization,
        "license": model.license,
        "template": str(model.template) if model.template else None,
    }
    for key, fact in facts.items():
        if fact is not None:
            yield f"{key} = {toml.value(fact)}"
    for key, names in (("roles", model.roles), ("profiles", model.profiles)):
        if names:
            yield f"{key} = {toml.array(map(str, names))}"
    yield "files = ["
    yield from (f"  {toml.inline(_file(file))}," for file in model.files)
    yield "]"


def _file(file: FileEntry) -> dict[str, str | int]:
    return {"role": str(file.role), "digest": str(file.digest), "size": file.size, "blocks": str(file.blocks)}
