"""How fast a model runs with some settings: one measurement of a prompt, and of generation by one and by all slots."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from ..engine_settings import EngineSettings
from ..llama.context import LlamaContext
from ..llama.model import LlamaModel
from .tuned import Speeds

FILLED = 128  # tokens that a sequence has read before its generation is measured
WARM = 32  # tokens that bring weights and buffers into memory


@dataclass(frozen=True, slots=True)
class Work:
    """How much is measured: tokens of a prompt, steps of one sequence, steps of all."""

    prompt: int
    one: int
    all: int

    @property
    def filled(self) -> int:
        """How many tokens a sequence has read before it generates."""
        return min(FILLED, self.prompt)

    @property
    def context(self) -> int:
        """How many tokens a slot needs."""
        return max(self.prompt, self.filled + self.one + self.all)


def trial(model: LlamaModel, settings: EngineSettings, work: Work) -> Speeds:
    """Tokens a second with these settings. Raises LoadFailed and DecodeFailed."""
    prompt = _tokens(model, work.prompt)
    slots = range(settings.parallel)
    with _warm(model, settings) as context:
        reading = _timed(lambda: context.decode(prompt))
        fill(context, prompt[: work.filled])
        one = _timed(lambda: _steps(context, slots[:1], work.one))
        all_ = _timed(lambda: _steps(context, slots, work.all))
    return Speeds(prompt=work.prompt / reading, one=work.one / one, all=work.all * settings.parallel / all_)


def step_seconds(model: LlamaModel, settings: EngineSettings, *, rows: Sequence[int], until: float) -> dict[int, float]:
    """The seconds of a decode step by how many sequences take part: medians of as many rounds as there is time for.

    `until` is of time.perf_counter; there is one round at least.
    """
    prompt = _tokens(model, min(FILLED, settings.context_size // 2))
    found: dict[int, list[float]] = {count: [] for count in rows}
    with _warm(model, settings) as context:
        while not found[rows[-1]] or time.perf_counter() < until:
            fill(context, prompt)
            for count in rows:
                if context.lengths[0] + 3 > context.room:
                    fill(context, prompt)
                # The first step of another size builds its graph anew.
                _steps(context, range(count), 1)
                found[count] += [_timed(lambda count=count: _steps(context, range(count), 1)) for _ in range(2)]  # type: ignore[misc]
    return {count: median(seconds) for count, seconds in found.items()}


def fill(context: LlamaContext, prompt: list[int]) -> None:
    """Makes every slot one that has read `prompt`."""
    context.trim(0, 0)
    context.decode(prompt)
    state = context.save(0)
    for slot in range(1, len(context.lengths)):
        context.restore(slot, state, len(prompt))


@contextmanager
def _warm(model: LlamaModel, settings: EngineSettings) -> Iterator[LlamaContext]:
    with LlamaContext(model, settings) as context:
        context.decode(_tokens(model, min(WARM, settings.context_size)))
        _steps(context, range(settings.parallel), 1) if settings.context_size > WARM else None
        for slot in range(settings.parallel):
            context.trim(slot, 0)
        yield context


def _steps(context: LlamaContext, slots: Sequence[int], count: int) -> None:
    tokens = [1] * len(slots)
    for _ in range(count):
        context.step(slots, tokens)
        context.logits()


def _tokens(model: LlamaModel, count: int) -> list[int]:
    """Some tokens; which ones they are costs nothing."""
    return [1 + n * 7 % (model.vocabulary_size - 1) for n in range(count)]


def _timed(act: Callable[[], None]) -> float:
    started = time.perf_counter()
    act()
    return max(time.perf_counter() - started, 1e-9)
