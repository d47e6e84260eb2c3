"""One model, many requests: each step takes new work, seats it, computes one batch and publishes what came of it."""

import time
from collections.abc import Callable
from collections.abc import Sequence as Several
from math import inf
from typing import TYPE_CHECKING

from ...store.closing import Closing
from ..engine_settings import EngineSettings
from ..errors import DecodeFailed, PromptEmpty, PromptTooLong, RunnerError
from ..llama.batch import Chunk
from ..llama.context import LlamaContext
from .answer import Answer
from .choice import choose
from .exact import found_company
from .kv import Kv
from .limits import Limits
from .pace import Pace
from .request import End, Reason, Request, Update
from .scheduler import Decode, Prefill, Scheduler
from .sequence import Sequence
from .stats import Stats

if TYPE_CHECKING:
    from ..llama import LlamaModel

_USUAL = Limits()


def _unwatched(_: Several[int]) -> None:
    """Nobody wants to know who is in the batch."""


class Engine(Closing):
    """Requests that share a model and its KV cache. One thread at a time; `step` is to be called until it is `idle`.

    `watch` is told the ids of a batch before it is computed, so that somebody knows them if the process ends there.
    Raises LoadFailed when there is no room for the context.
    """

    def __init__(
        self,
        model: "LlamaModel",
        settings: EngineSettings,
        limits: Limits = _USUAL,
        *,
        watch: Callable[[Several[int]], None] = _unwatched,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._settings = settings
        self._watch = watch
        self._clock = clock
        windowed = model.window and settings.swa_full and not settings.unified
        self._context = LlamaContext(model, settings, spare=limits.shelves if windowed else 0)
        self._kv = Kv(self._context, limits)
        self.company = (limits.company or found_company(self._context, model)) if settings.exact else None
        self._scheduler = Scheduler(
            settings.parallel,
            limits,
            batch_size=self._context.batch_size,
            company=self.company,
        )
        self._pace = Pace()
        self._sequences: dict[int, Sequence] = {}
        self._answers: dict[int, Answer] = {}
        self._updates: list[Update] = []
        self._stats = Stats(kv_room=settings.parallel * self._context.room)

    def close(self) -> None:
        """Frees the context; what was not finished is dropped."""
        for answer in self._answers.values():
            answer.close()
        self._answers.clear()
        self._context.close()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._sequences and not self._updates

    @property
    def stats(self) -> Stats:
        """What it has done, and what there is now; the same object every time."""
        self._stats.count(self._scheduler)
        return self._stats

    @property
    def threads(self) -> int:
        """How many threads the next step uses."""
        return self._context.threads

    @threads.setter
    def threads(self, count: int) -> None:
        self._context.threads = count

    def submit(self, id: int, request: Request) -> None:
        """Take a request; its updates will bear `id`.

        Raises QueueFull, PromptEmpty, PromptTooLong, InvalidSampling and RunnerError for a token that the model lacks.
        """
        if id in self._sequences:
            raise RunnerError(f"request {id} is there already")
        prompt = len(request.prompt)
        if prompt == 0:
            raise PromptEmpty("the prompt is empty")
        if prompt + 1 > self._context.room:
            raise PromptTooLong(prompt, self._context.room)
        for token in (*request.prompt, *request.generated):
            self._model.known(token)
        sequence = Sequence.of(id, request, now=self._clock(), exact=self._settings.exact)
        answer = Answer(self._model, request, most=self._context.room - prompt)
        try:
            self._scheduler.submit(sequence, retry_after=self._backlog_seconds)
        except RunnerError:
            answer.close()
            raise
        self._sequences[id], self._answers[id] = sequence, answer
        if answer.over:
            self._end(sequence, "length")

    def cancel(self, id: int) -> None:
        """End a request before the next step; one that has ended is none of its business."""
        if id in self._sequences:
            self._end(self._sequences[id], "cancelled")

    def step(self) -> list[Update]:
        """Compute one batch: a row of each sequence that decodes, or chunks of prompts."""
        began = time.perf_counter()
        computed = self._stats.computed_seconds
        now = self._clock()
        for sequence in self._scheduler.expired(now):
            self._end(sequence, "timeout")
        self._seat(now)
        step = self._scheduler.next_step(self._pace)
        if isinstance(step, Decode):
            self._decode(sorted(step.sequences, key=_slot))
        elif step is not None:
            self._prefill(step)
        updates, self._updates = self._updates, []
        self._stats.step(time.perf_counter() - began, computed=self._stats.computed_seconds - computed)
        return updates

    def _seat(self, now: float) -> None:
        while True:
            victim = self._scheduler.next_victim(now)
            if victim is not None:
                self._kv.park(victim)
                self._stats.parked += 1
            sequence = self._scheduler.next_seat(now)
            if sequence is None:
                return
            sequence.seated = min(sequence.seated, now)
            self._kv.seat(sequence)

    def _decode(self, sequences: list[Sequence]) -> None:
        slots = [_slot(sequence) for sequence in sequences]
        tokens = [sequence.tokens[sequence.held] for sequence in sequences]
        idle = self._idle(len(slots))
        seconds = self._compute(sequences, lambda: self._context.step(slots, tokens, idle=idle))
        if seconds is None:
            return
        self._pace.decoded(len(sequences) + len(idle), seconds)
        self._stats.decoded(len(sequences), seconds)
        for sequence in sequences:
            sequence.held += 1
        self._scheduler.served(sequences)
        self._say(list(enumerate(sequences)))

    def _idle(self, rows: int) -> Several[int]:
        """Slots that get a row for nobody, because more rows are faster."""
        if rows == 1 or self._settings.exact:
            return ()
        idle = self._kv.idle
        if rows != idle.start:
            return ()
        return idle[: self._pace.best_rows(rows, most=rows + len(idle)) - rows]

    def _prefill(self, step: Prefill) -> None:
        parts = [self._part(sequence, count) for sequence, count in step.chunks]
        sequences = [sequence for sequence, _ in step.chunks]
        seconds = self._compute(sequences, lambda: self._context.prefill_together(parts))
        if seconds is None:
            return
        count = sum(len(part.tokens) for part in parts)
        self._pace.prefilled(count, seconds)
        self._stats.prefilled(count, seconds)
        for sequence, part in zip(sequences, parts, strict=True):
            sequence.held += len(part.tokens)
            self._scheduler.served([sequence], len(part.tokens))
        self._say(list(enumerate(sequence for sequence in sequences if sequence.complete)))
        for sequence in sequences:
            if sequence.slot is not None and not sequence.prefilling:
                self._kv.join(sequence)

    def _part(self, sequence: Sequence, count: int) -> Chunk:
        """What is next to be read of a prompt: at most `count` tokens, behind what the KV cache has of it."""
        if not sequence.begun:
            self._kv.reuse(sequence, self._scheduler.running.values())
            self._stats.reused_tokens += sequence.reused
        end = min(sequence.held + count, sequence.prefill_end)
        return Chunk(_slot(sequence), sequence.tokens[sequence.held : end], end == len(sequence.tokens))

    def _compute(self, sequences: list[Sequence], decode: Callable[[], None]) -> float | None:
        """The seconds that a decode took; None if it failed, and with it all that took part."""
        self._watch([sequence.id for sequence in sequences])
        began = time.perf_counter()
        try:
            decode()
        except DecodeFailed as error:
            if self._context.closed:
                raise
            for sequence in sequences:
                self._end(sequence, "error", error=str(error))
            return None
        return time.perf_counter() - began

    def _say(self, rows: list[tuple[int, Sequence]]) -> None:
        """Choose a token for each row that has all its tokens read, and publish it."""
        ready = [(row, sequence) for row, sequence in rows if sequence.complete]
        # All are chosen before the first is published: when one leaves, the context may compute, and the rows be gone.
        for sequence, chosen in list(choose(self._context, ready, self._answers, self._watch)):
            if isinstance(chosen, str):
                self._end(sequence, "error", error=chosen)
                continue
            if sequence.spoke == inf:
                sequence.spoke = self._clock()
            said = self._answers[sequence.id].take(chosen.token)
            if said.counts:
                sequence.tokens.append(said.token)
            update = Update(
                request=sequence.id,
                tokens=(said.token,) if said.counts else (),
                text=said.text,
                logprobs=chosen.logprobs if said.counts else (),
                end=self._leave(sequence, said.end) if said.end else None,
            )
            self._updates.append(update)

    def _end(self, sequence: Sequence, reason: Reason, *, error: str = "") -> None:
        """A request is cut off."""
        text = self._answers[sequence.id].finish()
        self._updates.append(Update(sequence.id, text=text, end=self._leave(sequence, reason, error=error)))

    def _leave(self, sequence: Sequence, reason: Reason, *, error: str = "") -> End:
        self._scheduler.remove(sequence)
        self._kv.leave(sequence, keep=sequence.request.kept and reason != "error")
        self._answers.pop(sequence.id).close()
        del self._sequences[sequence.id]
        queue, prefill, decode = sequence.stages(self._clock())
        return End(
            reason=reason,
            prompt_tokens=len(sequence.request.prompt),
            reused_tokens=sequence.reused,
            completion_tokens=len(sequence.generated),
            error=error,
            queue_seconds=queue,
            prefill_seconds=prefill,
            decode_seconds=decode,
        )

    @property
    def _backlog_seconds(self) -> float:
        """How long what waits will take at the pace of late."""
        tokens = sum(len(waiting.tokens) - waiting.held for waiting in self._scheduler.waiting.values())
        return max(1.0, tokens * self._pace.token_seconds)


def _slot(sequence: Sequence) -> int:
    if sequence.slot is None:
        raise RunnerError(f"request {sequence.id} has no slot")
    return sequence.slot
