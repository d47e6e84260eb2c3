"""Where a model goes and how it is run, with the reason for each choice."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engine_settings import EngineSettings
from .layout import Layout
from .tuned import Tuned

if TYPE_CHECKING:
    from ..llama.model import Loading


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting, its value, and why it is this one."""

    name: str
    value: int | bool | str
    reason: str


@dataclass(frozen=True, slots=True)
class Placement:
    """The settings to load a model and make a context with, what lies where then, and the reasons.

    `tuned` is what was measured of this model on this machine, if anything was.
    """

    engine: EngineSettings
    layout: Layout
    choices: tuple[Choice, ...]
    tuned: Tuned | None = None

    @property
    def loading(self) -> "Loading":
        """How the model is loaded. Loads llama.cpp."""
        from ..llama.model import Loading

        return Loading(gpu_layers=self.engine.gpu_layers, split=self.engine.split, repack=self.engine.repack)
