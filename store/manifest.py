"""The manifest: what follows from a model's bytes, as canonical JSON (docs/bucket-format.md)."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from .digest import Digest
from .errors import Damaged, FormatTooNew, StoreError
from .fingerprint import Fingerprint
from .gguf import GgufHeader
from .layout import FORMAT


class Role(StrEnum):
    """What a file is for."""

    WEIGHTS = "weights"
    SHARD = "shard"
    PROJECTOR = "projector"
    ADAPTER = "adapter"
    DRAFT = "draft"
    TEMPLATE = "template"
    LICENSE = "license"
    PROGRAM = "program"
    OTHER = "other"

    @property
    def is_gguf(self) -> bool:
        """Whether a file of this role must be a whole GGUF."""
        return self in (Role.WEIGHTS, Role.SHARD, Role.PROJECTOR, Role.ADAPTER, Role.DRAFT)


_Kind = TypeVar("_Kind", str, int)
_KIND_ROLES = {"adapter": Role.ADAPTER, "mmproj": Role.PROJECTOR}


def role_of(header: GgufHeader) -> Role:
    """The role a GGUF claims for itself."""
    return _KIND_ROLES.get(header.kind, Role.WEIGHTS)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a model; `blocks` is the SHA-256 of its encoded block list."""

    role: Role
    digest: Digest
    size: int
    blocks: Digest


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the GGUF header says; every field is None for a file that is not GGUF. `template` is a digest."""

    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context_length: int | None = None
    template: Digest | None = None

    @classmethod
    def of(cls, header: GgufHeader) -> "ModelFacts":
        """The facts in a header."""
        template = header.template
        return cls(
            architecture=header.architecture,
            parameters=header.parameters,
            quantization=header.quantization,
            context_length=header.context_length,
            template=Digest.of(template.encode()) if template is not None else None,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model: its files and its facts. The id of a single-file model is the digest of its file."""

    files: tuple[FileEntry, ...]
    facts: ModelFacts

    @classmethod
    def single(cls, found: Fingerprint, *, role: Role, header: GgufHeader | None) -> "Manifest":
        """The manifest of a model that is one file."""
        entry = FileEntry(role, found.digest, found.size, Digest.of(found.blocks.encode()))
        return cls((entry,), ModelFacts.of(header) if header else ModelFacts())

    @property
    def model(self) -> Digest:
        """The model's id."""
        return self.files[0].digest if len(self.files) == 1 else self.digest

    @property
    def digest(self) -> Digest:
        """The digest of the manifest's own bytes."""
        return Digest.of(self.encode())

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(file.size for file in self.files)

    @property
    def main(self) -> FileEntry:
        """The file that stands for the model: its weights, or its only file."""
        return next((file for file in self.files if file.role is Role.WEIGHTS), self.files[0])

    def encode(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8."""
        return canonical(self.document())

    def document(self) -> dict[str, Any]:
        """The manifest as plain data."""
        facts = self.facts
        gguf = {
            "architecture": facts.architecture,
            "context_length": facts.context_length,
            "parameters": facts.parameters,
            "quantization": facts.quantization,
            "template": str(facts.template) if facts.template else None,
        }
        files = [
            {
                "blocks": str(file.blocks),
                "digest": str(file.digest),
                "role": file.role.value,
                "size": file.size,
            }
            for file in self.files
        ]
        return {"files": files, "format": FORMAT, "gguf": gguf}

    @classmethod
    def decode(cls, data: bytes) -> "Manifest":
        """The manifest in `data`; raises Damaged or FormatTooNew."""
        try:
            return cls.from_document(json.loads(data))
        except (ValueError, RecursionError) as error:
            raise Damaged("a manifest is not JSON") from error

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Manifest":
        """The manifest in plain data; raises Damaged or FormatTooNew."""
        try:
            _refuse_newer(document)
            files = tuple(_file(entry) for entry in document["files"])
            manifest = cls(files, _facts(document["gguf"]))
        except FormatTooNew:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, StoreError) as error:
            raise Damaged(f"a manifest is not in format {FORMAT}: {error}") from error
        if not files:
            raise Damaged("a manifest names no files")
        return manifest


def canonical(document: dict[str, Any] | list[Any]) -> bytes:
    """The one spelling of a JSON document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _refuse_newer(document: dict[str, Any]) -> None:
    # "parts" is reserved for files stored in pieces: a reader of format 1 must not guess at it.
    if _whole(document["format"]) > FORMAT or any("parts" in file for file in document["files"]):
        raise FormatTooNew(
            "the model's manifest was written by a later llstore", hint="upgrade: pip install -U llstore"
        )


def _file(entry: dict[str, Any]) -> FileEntry:
    return FileEntry(
        Role(entry["role"]), Digest.parse(entry["digest"]), _whole(entry["size"]), Digest.parse(entry["blocks"])
    )


def _facts(gguf: dict[str, Any]) -> ModelFacts:
    template = gguf.get("template")
    return ModelFacts(
        architecture=_fact(gguf, "architecture", str),
        parameters=_fact(gguf, "parameters", int),
        quantization=_fact(gguf, "quantization", str),
        context_length=_fact(gguf, "context_length", int),
        template=Digest.parse(template) if template is not None else None,
    )


def _fact(gguf: dict[str, Any], name: str, kind: type[_Kind]) -> _Kind | None:
    value = gguf.get(name)
    if value is not None and type(value) is not kind:
        raise TypeError(f"{name} is {value!r}")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise TypeError(f"{value!r} is not a size")
    return value
