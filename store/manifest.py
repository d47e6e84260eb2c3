"""The manifest: what follows from a model's bytes, as canonical JSON (docs/bucket-format.md)."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, TypeVar

from .digest import Digest
from .errors import Damaged, FormatTooNew, StoreError
from .gguf import GgufHeader, Tensor, parameters, quantization
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
_TEXTS = ("architecture", "quantization", "tokenizer", "license", "base_model")
_COUNTS = ("parameters", "context_length", "embedding_length")
_DIGESTS = ("template", "vocabulary", "tensors")
_LONGEST = 256  # characters of a fact
_KIND_ROLES = {"adapter": Role.ADAPTER, "mmproj": Role.PROJECTOR}


def role_of(header: GgufHeader) -> Role:
    """The role a GGUF claims for itself."""
    if header.kind in _KIND_ROLES:
        return _KIND_ROLES[header.kind]
    return Role.SHARD if header.split and header.split.count > 1 else Role.WEIGHTS


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a model; `blocks` is the SHA-256 of its encoded block list."""

    role: Role
    digest: Digest
    size: int
    blocks: Digest


def main_of(files: Sequence[FileEntry]) -> FileEntry:
    """The weights among files, their first shard, or the first file."""
    return next((file for file in files if file.role in (Role.WEIGHTS, Role.SHARD)), files[0])


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the GGUF headers say; every field is None for a model that is not GGUF.

    `template`, `vocabulary` and `tensors` are digests: of the chat template's text, of all else that the tokenizer is
    made of, and of the table of tensors. `others` is what a later llstore found, name by name as JSON: kept, so that
    the manifest of a model of many files stays the one that it is named by.
    """

    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context_length: int | None = None
    embedding_length: int | None = None
    tokenizer: str | None = None
    license: str | None = None
    base_model: str | None = None
    template: Digest | None = None
    vocabulary: Digest | None = None
    tensors: Digest | None = None
    others: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, headers: Sequence[GgufHeader]) -> "ModelFacts":
        """The facts in the headers of the weights, the first of which tells all that is not counted."""
        first, tensors = headers[0], [tensor for header in headers for tensor in header.tensors]
        template = first.template
        return cls(
            architecture=_short(first.architecture),
            parameters=parameters(tensors),
            quantization=quantization(tensors, first.file_type),
            context_length=first.context_length,
            embedding_length=first.embedding_length,
            tokenizer=_short(first.tokenizer),
            license=_short(first.license),
            base_model=_short(first.base_model),
            template=Digest.of(template.encode()) if template is not None else None,
            vocabulary=first.tokenizer_digest,
            tensors=table_digest(tensors),
        )


def _short(text: str | None) -> str | None:
    # A header may say megabytes: a manifest is read with thousands of others.
    return text[:_LONGEST] if text is not None else None


def table_digest(tensors: Iterable[Tensor]) -> Digest:
    """What a table of tensors is called: the SHA-256 of the JSON list of their `[name, shape, type]`, by name."""
    return Digest.of(canonical(sorted([tensor.name, list(tensor.shape), tensor.type] for tensor in tensors)))


@dataclass(frozen=True, slots=True)
class Manifest:
    """A model: its files and its facts. The id of a single-file model is the digest of its file."""

    files: tuple[FileEntry, ...]
    facts: ModelFacts

    @classmethod
    def of(cls, files: Iterable[FileEntry], headers: Sequence[GgufHeader] = ()) -> "Manifest":
        """The manifest of the model that these files are, with the headers of its weights.

        Files stand in the order of their roles; shards as they are given, others of one role by digest.
        """
        listed = list(files)
        ranks = {id(file): index if file.role is Role.SHARD else 0 for index, file in enumerate(listed)}
        order = list(Role)
        listed.sort(key=lambda file: (order.index(file.role), ranks[id(file)], file.digest))
        return cls(tuple(listed), ModelFacts.of(headers) if headers else ModelFacts())

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
        """The file that stands for the model: its weights, their first shard, or its only file."""
        return main_of(self.files)

    def encode(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8."""
        return canonical(self.document())

    def document(self) -> dict[str, Any]:
        """The manifest as plain data."""
        facts = self.facts
        known = {field.name: getattr(facts, field.name) for field in fields(facts) if field.name != "others"}
        gguf = {
            name: str(value) if isinstance(value, Digest) else value
            for name, value in known.items()
            if value is not None
        } | {name: json.loads(value) for name, value in facts.others}
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


def canonical(document: Any) -> bytes:
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
    found: dict[str, Any] = {name: _fact(gguf, name, str) for name in _TEXTS}
    found |= {name: _fact(gguf, name, int) for name in _COUNTS}
    found |= {name: Digest.parse(gguf[name]) for name in _DIGESTS if gguf.get(name) is not None}
    others = sorted(gguf.keys() - {*_TEXTS, *_COUNTS, *_DIGESTS})
    return ModelFacts(**found, others=tuple((name, canonical(gguf[name]).decode()) for name in others))


def _fact(gguf: dict[str, Any], name: str, kind: type[_Kind]) -> _Kind | None:
    value = gguf.get(name)
    if value is not None and type(value) is not kind:
        raise TypeError(f"{name} is {value!r}")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise TypeError(f"{value!r} is not a size")
    return value
