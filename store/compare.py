"""What tells two models apart: their keys, template, tokenizer and tensors. Plain facts in, plain facts out."""

import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from blake3 import blake3

from .gguf import Array, GgufHeader, Scalar
from .progress import Progress

TEMPLATE = "tokenizer.chat_template"
_TOKENIZER = "tokenizer."
_NOT_SAID = ("split.",)  # how a model is cut into files is none of its properties
_CHUNK = 64 * 1024 * 1024

Value = Scalar | Array
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A tensor as two models are compared by it: `digest` is the BLAKE3 of its bytes, None when they were not read."""

    shape: tuple[int, ...]
    type: str
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """A model's metadata and tensors, of all its shards."""

    keys: Mapping[str, Value]
    tensors: Mapping[str, TensorFacts]

    @property
    def read(self) -> bool:
        """Whether the bytes of all tensors were read."""
        return all(tensor.digest for tensor in self.tensors.values())

    def unread(self) -> "Described":
        """The same without what the bytes of the tensors are."""
        bare = {name: TensorFacts(tensor.shape, tensor.type) for name, tensor in self.tensors.items()}
        return Described(self.keys, bare)

    @property
    def template(self) -> str | None:
        """The chat template."""
        found = self.keys.get(TEMPLATE)
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class Difference:
    """What `b` has otherwise than `a`. `keys` leaves out the template and the tokenizer's keys.

    `weights` is None when it cannot be told without bytes that were not read.
    """

    keys: dict[str, tuple[Value | None, Value | None]]
    tokenizer: dict[str, tuple[Value | None, Value | None]]
    template: tuple[str | None, str | None] | None
    tensors: dict[str, tuple[TensorFacts | None, TensorFacts | None]]
    weights: bool | None

    @property
    def none(self) -> bool:
        """Whether the two are known to be the same."""
        return bool(self.weights) and not (self.keys or self.tokenizer or self.template)

    @property
    def summary(self) -> str:
        """The difference in a few words."""
        weights = {True: "same weights", False: "other weights", None: "weights not compared"}[self.weights]
        changed = [
            f"{what} changed"
            for what, differs in (
                ("template", self.template),
                ("tokenizer", self.tokenizer),
                (f"{len(self.keys)} key{'s' if len(self.keys) > 1 else ''}", self.keys),
            )
            if differs
        ]
        return ", ".join([weights, *(changed or ["same header"])])


def describe(headers: Sequence[GgufHeader], paths: Sequence[Path] | None = None, *, progress: Progress) -> Described:
    """A model from its headers and, with the paths of its files, from its tensors' bytes."""
    keys: dict[str, Value] = {}
    tensors: dict[str, TensorFacts] = {}
    total = sum(tensor.size for header in headers for tensor in header.tensors)
    done = 0
    for number, header in enumerate(headers):
        said = {**header.metadata, **header.arrays}
        keys |= {key: value for key, value in said.items() if not key.startswith(_NOT_SAID) and key not in keys}
        digests = _digests(header, paths[number]) if paths else dict.fromkeys(t.name for t in header.tensors)
        for tensor in header.tensors:
            tensors[tensor.name] = TensorFacts(tensor.shape, tensor.type, digests[tensor.name])
            done += tensor.size
            progress("compare", done, total)
    return Described(keys, tensors)


def difference(a: Described, b: Described) -> Difference:
    """What `b` has otherwise than `a`."""
    if not (a.read and b.read):
        a, b = a.unread(), b.unread()
    keys = _changed(a.keys, b.keys)
    template = keys.pop(TEMPLATE, None)
    tokenizer = {key: keys.pop(key) for key in list(keys) if key.startswith(_TOKENIZER)}
    tensors = _changed(a.tensors, b.tensors)
    return Difference(
        keys=keys,
        tokenizer=tokenizer,
        template=(a.template, b.template) if template else None,
        tensors=tensors,
        weights=_same_weights(a, b, tensors),
    )


def _same_weights(a: Described, b: Described, tensors: Mapping[str, object]) -> bool | None:
    if a.read and b.read:
        return not tensors
    # Other names, shapes or types are other weights, whatever their bytes.
    return False if tensors else None


def _changed(a: Mapping[str, T], b: Mapping[str, T]) -> dict[str, tuple[T | None, T | None]]:
    return {key: (a.get(key), b.get(key)) for key in sorted({*a, *b}) if a.get(key) != b.get(key)}


def _digests(header: GgufHeader, path: Path) -> dict[str, str | None]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        found: dict[str, str | None] = {}
        for tensor in header.tensors:
            start = header.data_start + tensor.offset
            found[tensor.name] = _digest(
                mapped[at : min(at + _CHUNK, start + tensor.size)] for at in range(start, start + tensor.size, _CHUNK)
            )
        return found


def _digest(chunks: Iterable[bytes]) -> str:
    hasher = blake3(max_threads=blake3.AUTO)
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.hexdigest()
