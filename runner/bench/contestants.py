"""Who is measured: our engine, and llama.cpp's own programs with the same settings."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..engine.engine import Engine
from ..engine.restarts import Keeping, silent
from ..engine.supervisor import EngineProcess
from ..engine_settings import EngineSettings
from ..llama.model import LlamaModel, Loading
from .engine_targets import NAME, ProcessTarget
from .llama_server import LlamaServer
from .own_speed import SpeedTest
from .peers import Peers
from .speed import BatchedSpeed, BatchedTest, Speed
from .target import Target

CELLS = 256  # llama.cpp gives a sequence a multiple of so many KV cells


def room(tokens: int) -> int:
    """The context size that holds so many tokens, and the one that is chosen last."""
    return -(-(tokens + 1) // CELLS) * CELLS


@dataclass(frozen=True, slots=True)
class Ours:
    """Our engine: speeds from its step loop in this process, loads in a process of its own, as it serves.

    `say` is told what keeps people waiting.
    """

    files: Sequence[Path]
    settings: EngineSettings
    words: Sequence[int]
    say: Callable[[str], None] = silent
    name: str = NAME

    def alone(self, *, prompt: int, generated: int, repeats: int) -> tuple[Speed, ...]:
        """The speed of one request."""
        with self._test(sized(self.settings, prompt + generated, 1)) as test:
            return test.alone(prompt=prompt, generated=generated, repeats=repeats)

    def batched(self, test: BatchedTest) -> BatchedSpeed:
        """The speed of several at once."""
        with self._test(sized(self.settings, test.prompt + test.generated, test.parallel)) as speed:
            return speed.batched(test)

    @contextmanager
    def target(self) -> Iterator[Target]:
        """It at work."""
        keeping = Keeping(say=self.say)
        with EngineProcess(self.files, self.settings, loading=self._loading, keeping=keeping) as engine:
            engine.wait_ready()
            yield ProcessTarget(engine)

    @contextmanager
    def _test(self, settings: EngineSettings) -> Iterator[SpeedTest]:
        with LlamaModel(self.files, self._loading) as model, Engine(model, settings) as engine:
            yield SpeedTest(engine, self.words)

    @property
    def _loading(self) -> Loading:
        settings = self.settings
        return Loading(gpu_layers=settings.gpu_layers, split=settings.split, repack=settings.repack)


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """llama-bench, llama-batched-bench and llama-server."""

    peers: Peers
    settings: EngineSettings
    name: str = "llama.cpp"

    def alone(self, *, prompt: int, generated: int, repeats: int) -> tuple[Speed, ...]:
        """llama-bench's speed."""
        return self.peers.bench(self.settings, prompt=prompt, generated=generated, repeats=repeats)

    def batched(self, test: BatchedTest) -> BatchedSpeed:
        """llama-batched-bench's."""
        return self.peers.batched(sized(self.settings, test.prompt + test.generated, test.parallel), test)

    @contextmanager
    def target(self) -> Iterator[Target]:
        """llama-server at work."""
        with LlamaServer(self.peers, self.settings) as server:
            yield server.target(self.name)


def sized(settings: EngineSettings, tokens: int, parallel: int) -> EngineSettings:
    """The same settings for so many sequences of so many tokens."""
    return replace(settings, context_size=room(tokens), parallel=parallel)
