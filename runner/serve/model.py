"""A model that is served: its engine, its vocabulary, and what callers may call it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...store import Digest, Manifest, Name
from ...store.closing import Closing
from ...store.manifest import FileEntry
from ...store.ref import means
from ..engine.limits import Limits
from ..engine.restarts import Keeping
from ..engine.supervisor import EngineProcess
from ..engine_settings import EngineSettings
from ..llama.model import LlamaModel, Loading

if TYPE_CHECKING:
    from ..placement.placement import Placement


@dataclass(frozen=True, slots=True)
class Identity:
    """Which model it is, the files that are loaded, and the names that meant it then."""

    manifest: Manifest
    files: tuple[FileEntry, ...]
    names: tuple[Name, ...] = ()

    @property
    def digest(self) -> Digest:
        """The model's id."""
        return self.manifest.model

    @property
    def label(self) -> str:
        """What people call it."""
        return str(self.names[0]) if self.names else str(self.digest)

    def answers_to(self, text: str) -> bool:
        """Whether `text` is a ref of this model."""
        return means(text, self.digest, self.names)


class ServedModel(Closing):
    """One model's engine in its process, and its vocabulary in this one. Weights are loaded after it was made, too.

    Raises LoadFailed for a file that cannot be opened or that has no vocabulary, EngineCrashed where reading that ends
    each process of the engine.
    """

    def __init__(
        self,
        files: Sequence[Path],
        placement: "Placement",
        identity: Identity,
        *,
        limits: Limits,
        keeping: Keeping,
    ) -> None:
        self.identity = identity
        self.created = int(time.time())  # when it was loaded, in seconds since 1970
        self.settings: EngineSettings = placement.engine
        self.switched_off = placement.switched_off
        self.warm = False  # whether it has answered a first prompt
        with ExitStack() as held:
            self.engine = held.enter_context(
                EngineProcess(files, placement.engine, loading=placement.loading, limits=limits, keeping=keeping)
            )
            self.engine.wait_vocabulary()
            self.vocabulary = held.enter_context(LlamaModel(files, Loading(vocabulary_only=True)))
            self._held = held.pop_all()

    def close(self) -> None:
        """Ends the engine; requests that have not ended are cancelled."""
        self._held.close()

    @property
    def digest(self) -> Digest:
        """The model's id."""
        return self.identity.digest

    @property
    def context(self) -> int:
        """How many tokens a prompt and its answer may have together."""
        return self.settings.context_size
