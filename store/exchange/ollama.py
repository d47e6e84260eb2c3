"""Importing a model from a folder in which Ollama keeps its models: `ollama:NAME[:TAG]`.

Manifests are those of OCI, under manifests/HOST/NAMESPACE/NAME/TAG; layers are blobs/sha256-<hex>.
https://github.com/ollama/ollama/blob/main/docs/import.md
"""

import json
import re
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..curate import SOURCE
from ..digest import Digest
from ..disk import disk_errors
from ..errors import InvalidSource, ModelNotFound, StoreError, Unsafe
from ..manifest import Role
from ..progress import Progress, silent
from ..store import Store
from .arriving import Imported, Wishes, known, say
from .placed import Placed, Way

SCHEME = "ollama:"
_KIND = "application/vnd.ollama.image."
# None: the GGUF's header says it. Ollama's templates are Go's, not Jinja: they are of no use to anybody else.
_ROLES = {"model": None, "projector": Role.PROJECTOR, "adapter": Role.ADAPTER, "license": Role.LICENSE}
_NOTED = ("params", "system")
_LONGEST_NOTE = 4000  # bytes of an annotation
_WORD = "[A-Za-z0-9_][A-Za-z0-9._-]*"
_REF = re.compile(
    f"(?:(?:(?P<host>{_WORD}(?::[0-9]+)?)/)?(?P<namespace>{_WORD})/)?(?P<name>{_WORD})(?::(?P<tag>{_WORD}))?"
)


@dataclass(frozen=True, slots=True)
class OllamaRef:
    """A model of Ollama's: where it is from, its name, its tag."""

    name: str
    tag: str = "latest"
    namespace: str = "library"
    host: str = "registry.ollama.ai"

    @classmethod
    def parse(cls, text: str) -> "OllamaRef":
        """What `text` means: NAME, NAMESPACE/NAME or HOST[:PORT]/NAMESPACE/NAME, each with or without :TAG."""
        found = _REF.fullmatch(text.removeprefix(SCHEME))
        if not found:
            raise InvalidSource(f"not a model of Ollama's: {text[:200]!r}", hint="ollama:NAME[:TAG]")
        return cls(**{part: said for part, said in found.groupdict().items() if said})

    @property
    def key(self) -> str:
        """Where its manifest lies in the folder."""
        return f"manifests/{self.host}/{self.namespace}/{self.name}/{self.tag}"

    def __str__(self) -> str:
        usual = {"host": "registry.ollama.ai", "namespace": "library"}
        parts = [self.host] if self.host != usual["host"] else []
        parts += [self.namespace] if parts or self.namespace != usual["namespace"] else []
        return f"{SCHEME}{'/'.join([*parts, self.name])}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob of a model of Ollama's: what it is (the end of its media type), where it lies, its bytes."""

    kind: str
    digest: Digest
    size: int
    path: Path


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """A model in a folder of Ollama's."""

    ref: OllamaRef
    layers: tuple[Layer, ...]

    @property
    def files(self) -> tuple[Layer, ...]:
        """The layers that become files of ours, each once."""
        return tuple({layer.digest: layer for layer in self.layers if layer.kind in _ROLES}.values())


def find(ref: OllamaRef, folders: Iterable[Path]) -> OllamaModel:
    """The model, in the first of the folders that has it; raises ModelNotFound or Unsafe."""
    looked = list(folders)
    for folder in looked:
        path = folder / ref.key
        with disk_errors(path):
            data = path.read_bytes() if path.is_file() else None
        if data is not None:
            return OllamaModel(ref, _layers(data, folder, path))
    there = sorted({name for folder in looked for name in _names(folder)})
    near = get_close_matches(str(ref), there, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "OLLAMA_MODELS says where its models are"
    raise ModelNotFound(f"no {ref} in {' or '.join(map(str, looked))}", hint=hint)


def import_ollama(
    store: Store, model: OllamaModel, wishes: Wishes, *, link: bool = False, progress: Progress = silent
) -> Imported:
    """Bring a model into the store; with `link`, as the very file that Ollama has.

    The embedded store shares the bytes with Ollama where the file system can, and any other is sent them. Raises
    Unsafe, FileNotThere, and Damaged when a blob is not what its name says.
    """
    store.written  # noqa: B018 - refused before anything is read
    if not any(layer.kind == "model" for layer in model.files):
        raise Unsafe(f"{model.ref} has no GGUF weights", hint="llstore takes GGUF models")
    if link and not store.folder:
        raise InvalidSource(f"{store.url} cannot link to files of this machine", hint="leave out --link")
    source = str(model.ref)
    request = wishes.request({SOURCE: source, **_notes(model.layers)})
    there = known(store, {layer.digest for layer in model.files})
    if there:
        return say(store, there, request, source=source)
    roles = tuple((layer.path.name, role) for layer in model.files if (role := _ROLES[layer.kind]))
    with ExitStack() as stack:
        way = Way.LINK if link else Way.SHARE
        sources = [
            stack.enter_context(Placed(layer.path, expected=layer.digest, folder=store.folder, way=way))
            for layer in model.files
        ]
        result = store.put_sources(sources, replace(request, roles=roles), progress)
    return Imported.by(result, source=source)


def _layers(data: bytes, folder: Path, path: Path) -> tuple[Layer, ...]:
    try:
        return tuple(_layer(layer, folder) for layer in json.loads(data)["layers"])
    except (KeyError, TypeError, ValueError, RecursionError, StoreError) as error:
        raise Unsafe(f"{path} is not a manifest of Ollama's: {error}") from error


def _layer(document: dict[str, Any], folder: Path) -> Layer:
    digest, size = Digest.parse(document["digest"]), int(document["size"])
    path = folder / f"blobs/sha256-{digest.hex}"
    # Early versions wrote the digest as it is.
    old = path.with_name(f"sha256:{digest.hex}")
    return Layer(str(document["mediaType"]).removeprefix(_KIND), digest, size, old if old.exists() else path)


def _notes(layers: Iterable[Layer]) -> dict[str, str]:
    """What is said of the model beside its files, as far as it is short."""
    found = {}
    for layer in layers:
        if layer.kind in _NOTED and layer.size <= _LONGEST_NOTE and layer.path.is_file():
            with disk_errors(layer.path):
                data = layer.path.read_bytes()
            if Digest.of(data) == layer.digest:
                found[f"ollama.{layer.kind}"] = data.decode(errors="replace")
    return found


def _names(folder: Path) -> list[str]:
    found = []
    for path in folder.glob("manifests/*/*/*/*"):
        host, namespace, name, tag = path.relative_to(folder / "manifests").parts
        found.append(str(OllamaRef(name, tag, namespace, host)))
    return found
