"""Where a model goes and how it is run, with the reason for each choice."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..engine_settings import EngineSettings
from ..errors import NoRoom
from ..generate import context_size
from .layout import Layout
from .machine import Machine
from .tuned import Tuned

if TYPE_CHECKING:
    from ..llama.model import Loading


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting, its value, and why it is this one. `unusual` is another value than without asking or measuring."""

    name: str
    value: int | bool | str
    reason: str
    unusual: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """The settings to load a model and make a context with, what lies where then, and the reasons.

    `machine` is what it was chosen for, `limited` a context for which there was less room than is usual, `tuned` what
    was measured of this model on this machine, if anything was, `switched_off` the kernels that fail here.
    """

    engine: EngineSettings
    layout: Layout
    choices: tuple[Choice, ...]
    machine: Machine
    limited: bool = False
    tuned: Tuned | None = None
    switched_off: frozenset[str] = frozenset()

    @property
    def tuned_settings(self) -> dict[str, int | bool | str]:
        """The settings that are not the usual ones because others were measured to be faster."""
        tuned = f"tuned on {self.tuned.date}" if self.tuned else ""
        return {choice.name: choice.value for choice in self.choices if choice.unusual and choice.reason == tuned}

    @property
    def loading(self) -> "Loading":
        """How the model is loaded. Loads llama.cpp."""
        from ..llama.model import Loading

        return Loading(gpu_layers=self.engine.gpu_layers, split=self.engine.split, repack=self.engine.repack)

    def for_prompt(self, prompt: int, max_tokens: int, *, at_most: int) -> EngineSettings:
        """The settings with a context as large as a prompt of so many tokens and its answer need.

        Raises PromptEmpty, PromptTooLong beyond `at_most` tokens, NoRoom.
        """
        needed, room = context_size(prompt, max_tokens, at_most=at_most), self.engine.context_size
        if self.limited and needed > room:
            answer = f"--max-tokens {room - prompt} fits, or " if room > prompt else ""
            raise NoRoom(
                f"prompt and answer need a context of {needed} tokens, and memory has room for {room}",
                hint=f"{answer}a KV cache of another type may: --kv-type q8_0",
            )
        return replace(self.engine, context_size=needed)
