"""The run receipt: what produced an answer, so that it can be made again (docs/receipts.md)."""

import struct
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...store import Digest, Manifest, Role
from ...store.manifest import FileEntry, canonical
from ..chat.ask import Ask
from ..engine_settings import EngineSettings
from ..generate import FinishReason, Generation
from ..sampling import Sampling
from .build_facts import BuildFacts

if TYPE_CHECKING:
    from ..llama.model import LlamaModel

KIND, FORMAT = "llstore-run-receipt", 1


@dataclass(frozen=True, slots=True)
class UsedFile:
    """A file of the model that was loaded."""

    role: Role
    digest: Digest


@dataclass(frozen=True, slots=True)
class UsedModel:
    """The model that answered: its id, its manifest's digest, the files that were loaded, in order."""

    digest: Digest
    manifest: Digest
    files: tuple[UsedFile, ...]

    @classmethod
    def of(cls, manifest: Manifest, files: Sequence[FileEntry]) -> "UsedModel":
        """That of a manifest, of which `files` were loaded."""
        return cls(manifest.model, manifest.digest, tuple(UsedFile(file.role, file.digest) for file in files))


@dataclass(frozen=True, slots=True)
class Reading:
    """How a model read its prompt: the chat template that was used, how many tokens came of it, their digest."""

    template: Digest | None
    count: int
    digest: Digest

    @classmethod
    def of(cls, ask: Ask, model: "LlamaModel", made: Generation) -> "Reading":
        """That of `ask`, which led to what was made."""
        return cls(ask.template(model), made.prompt_tokens, tokens_digest(made.prompt))


@dataclass(frozen=True, slots=True)
class Output:
    """The answer: its tokens, their text up to any stop string, and why it ended."""

    tokens: tuple[int, ...]
    text: str
    finish_reason: FinishReason

    @classmethod
    def of(cls, made: Generation) -> "Output":
        """That of a generation."""
        return cls(made.tokens, made.text, made.finish_reason)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What produced an answer. `sampling` has the seed that was used; `created` is in seconds since 1970."""

    model: UsedModel
    ask: Ask
    reading: Reading
    sampling: Sampling
    engine: EngineSettings
    build: BuildFacts
    output: Output
    created: int

    @classmethod
    def of(cls, used: UsedModel, ask: Ask, *, model: "LlamaModel", made: Generation, build: BuildFacts) -> "Receipt":
        """The receipt of a generation by `model`."""
        return cls(
            model=used,
            ask=ask,
            reading=Reading.of(ask, model, made),
            sampling=made.sampling,
            engine=made.engine,
            build=build,
            output=Output.of(made),
            created=int(time.time()),
        )

    def document(self) -> dict[str, Any]:
        """The receipt as plain data."""
        return {
            "kind": KIND,
            "format": FORMAT,
            "created": self.created,
            "model": str(self.model.digest),
            "manifest": str(self.model.manifest),
            "files": [{"role": file.role.value, "digest": str(file.digest)} for file in self.model.files],
            "template": str(self.reading.template) if self.reading.template else None,
            "adapters": [],
            "program": None,
            "prompt": self.ask.document(),
            "prompt_digest": str(self.ask.digest),
            "prompt_tokens": self.reading.count,
            "prompt_tokens_digest": str(self.reading.digest),
            "sampling": _sampling(self.sampling),
            "engine": asdict(self.engine),
            "build": self.build.document(),
            "output": {
                "tokens": list(self.output.tokens),
                "tokens_digest": str(tokens_digest(self.output.tokens)),
                "text": self.output.text,
                "finish_reason": self.output.finish_reason,
            },
        }

    def encode(self) -> bytes:
        """Canonical JSON (sorted keys, no spaces, UTF-8) and a newline."""
        return canonical(self.document()) + b"\n"


def _sampling(sampling: Sampling) -> dict[str, Any]:
    found = asdict(sampling)
    shown = found.pop("shown_tokens")
    return {
        **found,
        **({"shown_tokens": list(shown)} if shown else {}),  # hardly ever there, and older readers do not know it
        "stop": list(sampling.stop),
        "stop_tokens": list(sampling.stop_tokens),
        "logit_bias": [list(pair) for pair in sampling.logit_bias],
    }


def tokens_digest(tokens: Sequence[int]) -> Digest:
    """The SHA-256 of token ids, each as a little-endian int32."""
    return Digest.of(struct.pack(f"<{len(tokens)}i", *tokens))
