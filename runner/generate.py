"""One prompt, one answer: prefill, then a token at a time until the model, a stop string or the limit ends it."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from .cores import AllCores, Cores
from .engine.limits import Limits
from .engine.request import Reason, Request, Update
from .engine_settings import EngineSettings
from .errors import DecodeFailed, PromptEmpty, PromptTooLong, RunnerError
from .sampling import MAX_SEED, Sampling

if TYPE_CHECKING:
    from .llama.model import LlamaModel

CONTEXT_STEP = 256  # tokens; llama.cpp pads contexts to it

_ALONE = Limits(queue=1, prefix_bytes=0, shelves=0)  # nobody comes after it

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Generation:
    """What was generated and how fast. `prompt` and `tokens` are token ids.

    `load_seconds` runs from opening the file until the context is ready, `first_token_seconds` from the start of
    prefill; `tokens_per_second` counts the tokens after the first, and is 0 when there are none. The token that ends
    a turn is not counted, nor among `tokens`. `sampling` has the seed that was used, `engine` is what it ran with.
    """

    text: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    load_seconds: float
    first_token_seconds: float
    tokens_per_second: float
    sampling: Sampling
    engine: EngineSettings

    @property
    def prompt_tokens(self) -> int:
        """How many tokens the prompt has."""
        return len(self.prompt)

    @property
    def completion_tokens(self) -> int:
        """How many tokens were generated."""
        return len(self.tokens)


class Generator:
    """The pieces of one answer, as they come; `result` once they are through.

    It can be iterated once; leaving the loop early, for any reason, frees the context. Without `engine`, the context
    is as large as prompt and `max_tokens` need. Raises PromptEmpty and PromptTooLong at once, LoadFailed and
    DecodeFailed while iterating.
    """

    def __init__(
        self,
        model: "LlamaModel",
        prompt: list[int],
        sampling: Sampling,
        *,
        engine: EngineSettings | None = None,
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._seed = secrets.randbelow(MAX_SEED + 1) if sampling.seed is None else sampling.seed
        self._sampling = replace(sampling, seed=self._seed)
        most = engine.context_size if engine else model.context_length
        size = context_size(len(prompt), sampling.max_tokens, at_most=most)
        self._engine = engine or EngineSettings(size, gpu_layers=model.gpu_layers)
        self._cores: Cores | AllCores = AllCores()
        self._clock = _Clock()
        self._text: list[str] = []
        self._tokens: list[int] = []
        self._result: Generation | None = None
        self._pieces = self._run()

    def share(self, cores: Cores | AllCores) -> None:
        """Take turns with other engines at the machine's cores."""
        self._cores = cores

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    @property
    def result(self) -> Generation:
        """What was generated. Raises RunnerError before the last piece was taken."""
        if self._result is None:
            raise RunnerError("the generation is not finished")
        return self._result

    def _run(self) -> Iterator[str]:
        from .engine.engine import Engine

        self._clock.start()
        with Engine(self._model, self._engine, _ALONE) as engine:
            self._clock.ready()
            engine.submit(0, Request(tuple(self._prompt), self._sampling))
            while not engine.idle:
                with self._cores.taken(self._engine.threads):
                    updates = engine.step()
                for update in updates:
                    yield from self._take(update)
            self._cores.rest()

    def _take(self, update: Update) -> Iterator[str]:
        for token in update.tokens:
            self._clock.token()
            self._tokens.append(token)
        if update.text:
            self._text.append(update.text)
            yield update.text
        if update.end and update.end.error:
            raise DecodeFailed(update.end.error)
        if update.end:
            self._result = self._generation(update.end.reason)

    def _generation(self, reason: Reason) -> Generation:
        return Generation(
            text="".join(self._text),
            prompt=tuple(self._prompt),
            tokens=tuple(self._tokens),
            finish_reason="stop" if reason == "stop" else "length",
            load_seconds=self._model.load_seconds + self._clock.context_seconds,
            first_token_seconds=self._clock.first_token_seconds,
            tokens_per_second=self._clock.tokens_per_second,
            sampling=self._sampling,
            engine=self._engine,
        )


def context_size(prompt: int, max_tokens: int, *, at_most: int) -> int:
    """How many tokens of context a generation takes: a multiple of 256, or all the model has.

    Raises PromptEmpty, and PromptTooLong when not even one token would fit behind the prompt.
    """
    if prompt == 0:
        raise PromptEmpty("the prompt is empty")
    if prompt + 1 > at_most:
        raise PromptTooLong(prompt, at_most)
    return min(at_most, -(-(prompt + max_tokens) // CONTEXT_STEP) * CONTEXT_STEP)


class _Clock:
    """When the context was ready and the first and the last token came."""

    def __init__(self) -> None:
        self._made = self._ready = self._first = self._last = 0.0
        self._tokens = 0

    def start(self) -> None:
        self._made = time.perf_counter()

    def ready(self) -> None:
        self._ready = time.perf_counter()

    def token(self) -> None:
        self._last = time.perf_counter()
        self._tokens += 1
        if self._tokens == 1:
            self._first = self._last

    @property
    def context_seconds(self) -> float:
        return self._ready - self._made

    @property
    def first_token_seconds(self) -> float:
        return self._first - self._ready

    @property
    def tokens_per_second(self) -> float:
        seconds = self._last - self._first
        return (self._tokens - 1) / seconds if seconds else 0.0
