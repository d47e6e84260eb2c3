"""A batch on its way: lines become requests, and their answers become lines in the same order."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from ..engine.request import End, Request, Update
from ..errors import (
    EngineCrashed,
    EngineStopped,
    ExtraMissing,
    InvalidEngine,
    LoadFailed,
    PromptEmpty,
    PromptTooLong,
    RunnerError,
)
from ..sampling import MAX_SEED, Sampling
from .feed import Feed
from .job import Job, Refusal
from .lines import read
from .reader import Line
from .results import Results
from .settings import BatchSettings
from .shape import Answer
from .tally import Tally
from .window import Finished, Window

if TYPE_CHECKING:
    from ..llama.model import LlamaModel

WINDOW_LINES = 4096  # how many lines may be finished ahead of one that takes long
WINDOW_BYTES = 64 * 1024 * 1024


HELD = 3  # lines without an answer, of a fault that may be the engine's

_LONGER = "--ctx gives each slot more of it"

# What no other line would fare better with; any other error is its line's own.
_FATAL = (ExtraMissing, LoadFailed, InvalidEngine, EngineCrashed, EngineStopped)


class Submits(Protocol):
    """An engine: from any thread, `receive` is called with each update, or `fail` with why there is no answer."""

    def submit(
        self, request: Request, receive: Callable[[Update], None], *, fail: Callable[[RunnerError], None]
    ) -> int: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a batch asks for at once: prompts of less than `context` tokens, `requests` of them.

    The model was trained on `trained` tokens of context, if that is known.
    """

    context: int
    requests: int
    trained: int = 0
    window_lines: int = WINDOW_LINES
    window_bytes: int = WINDOW_BYTES


@dataclass(frozen=True, slots=True)
class Means:
    """What a batch works with. The model makes tokens of prompts: its vocabulary is all that is needed."""

    engine: Submits
    model: "LlamaModel"
    settings: BatchSettings
    bounds: Bounds


@dataclass(slots=True)
class _Pending:
    """A line whose answers are coming, and the pieces of each."""

    line: Line
    job: Job
    texts: list[list[str]]
    ends: list[End | None]
    refused: RunnerError | None = None


class Batch:
    """Answers lines with an engine, some at once, and writes what they got in the order of the lines.

    `progress` is called as things happen. What other threads tell is done in the one that runs it.
    """

    def __init__(self, means: Means, results: Results, progress: Callable[[Tally], None] = lambda _: None) -> None:
        self._engine = means.engine
        self._model = means.model
        self._settings = means.settings
        self._bounds = means.bounds
        self._results = results
        self._progress = progress
        self._tally = Tally(lines=results.lines, failed=results.failed, resumed=results.lines)
        self._window = Window(lines=means.bounds.window_lines, size=means.bounds.window_bytes, first=results.lines)
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._next = results.lines
        self._held: list[Finished] = []
        self._flying = 0
        self._asked = self._ended = False

    def run(self, lines: Iterator[Line]) -> Tally:
        """Answer all lines that there is no result for yet. Raises OtherBatch, and what the engine fails with."""
        self._results.pass_over(lines)
        with Feed(lines, partial(self._later, self._arrived)) as feed:
            self._ask(feed)
            while self._flying or not self._ended:
                self._events.get()()
                self._tally.seconds = time.monotonic() - self._tally.began
                self._progress(self._tally)
                self._ask(feed)
        self._release()
        self._results.finish()
        return self._tally

    def _ask(self, feed: Feed) -> None:
        if not self._window.room_for(self._next):
            self._release()
        room = self._flying < self._bounds.requests and self._window.room_for(self._next)
        if room and not self._asked and not self._ended:
            self._asked = True
            feed.ask()

    def _arrived(self, line: Line | BaseException | None) -> None:
        self._asked = False
        if isinstance(line, BaseException):
            raise line
        if line is None:
            self._ended = True
            return
        self._next = line.number + 1
        remembered = self._results.recall(line)
        if remembered:
            self._put(remembered)
        else:
            self._begin(line)

    def _begin(self, line: Line) -> None:
        job = read(line, self._settings)
        if isinstance(job, Refusal):
            self._fail(line, job.shape.error(job.message, ours=False))
            return
        try:
            prompt = self._prompt(job)
        except RunnerError as error:
            self._refuse(line, job, error)
            return
        pending = _Pending(line, job, [[] for _ in job.samplings], [None] * len(job.samplings))
        for choice, sampling in enumerate(job.samplings):
            self._submit(pending, choice, Request(prompt, _seeded(sampling), patient=True, group=line.number))

    def _prompt(self, job: Job) -> tuple[int, ...]:
        tokens = tuple(job.ask.tokens(self._model))
        if not tokens:
            raise PromptEmpty("the prompt is empty")
        if len(tokens) + 1 > self._bounds.context:
            error = PromptTooLong(len(tokens), self._bounds.context)
            error.hint = _LONGER if self._bounds.context < self._bounds.trained else ""
            raise error
        return tokens

    def _submit(self, pending: _Pending, choice: int, request: Request) -> None:
        updated, failed = (partial(self._later, then, pending, choice) for then in (self._updated, self._failed))
        self._flying += 1
        try:
            self._engine.submit(request, updated, fail=failed)
        except RunnerError as error:
            self._failed(pending, choice, error)

    def _later(self, happened: Callable[..., None], *facts: object) -> None:
        self._events.put(partial(happened, *facts))

    def _failed(self, pending: _Pending, choice: int, error: RunnerError) -> None:
        if isinstance(error, _FATAL):
            raise error
        pending.refused = error
        self._updated(pending, choice, Update(0, end=End("error", 0, 0, 0, error=str(error))))

    def _updated(self, pending: _Pending, choice: int, update: Update) -> None:
        self._tally.streamed += len(update.tokens)
        pending.texts[choice].append(update.text)
        if update.end is None:
            return
        pending.ends[choice] = update.end
        self._flying -= 1
        ends = [end for end in pending.ends if end is not None]
        if len(ends) == len(pending.ends):
            self._end(pending, ends)

    def _end(self, pending: _Pending, ends: list[End]) -> None:
        if pending.refused:
            self._refuse(pending.line, pending.job, pending.refused)
            return
        unanswered = [end for end in ends if end.reason not in ("stop", "length")]
        if unanswered:
            why = unanswered[0].error or unanswered[0].reason
            self._hold(pending.line, pending.job.shape.error(f"line {pending.line.place}: {why}", ours=True))
            return
        self._release()
        answers = [_answer(end, texts) for end, texts in zip(ends, pending.texts, strict=True)]
        self._tally.prompt_tokens += answers[0].prompt_tokens
        self._tally.completion_tokens += sum(answer.completion_tokens for answer in answers)
        self._finish(pending.line, pending.job.shape.answer(answers), failed=False)

    def _refuse(self, line: Line, job: Job, error: RunnerError) -> None:
        if isinstance(error, _FATAL):
            raise error
        hint = f" ({error.hint})" if error.hint else ""
        self._fail(line, job.shape.error(f"line {line.place}: {error}{hint}", ours=False))

    def _fail(self, line: Line, document: dict[str, Any]) -> None:
        self._finish(line, document, failed=True)

    def _hold(self, line: Line, document: dict[str, Any]) -> None:
        """A line has no answer, and may not be to blame: if no other has one either, the engine is given up, and the
        line is asked again when the batch goes on."""
        self._held.append(_finished(line, document, failed=True))
        if len(self._held) >= HELD:
            self._release()

    def _release(self) -> None:
        """Writes what is held: the engine answers others."""
        held, self._held = self._held, []
        for finished in held:
            self._keep(finished)

    def _finish(self, line: Line, document: dict[str, Any], *, failed: bool) -> None:
        self._keep(_finished(line, document, failed=failed))

    def _keep(self, finished: Finished) -> None:
        if finished.number != self._window.next:
            self._results.keep(finished)
        self._put(finished)

    def _put(self, finished: Finished) -> None:
        self._window.put(finished)
        ready = self._window.take()
        if ready:
            self._results.write(ready, self._window.waiting)
            self._tally.lines += len(ready)
            self._tally.failed += sum(each.failed for each in ready)


def _seeded(sampling: Sampling) -> Sampling:
    # A request that an engine begins again goes on as it was.
    return replace(sampling, seed=secrets.randbelow(MAX_SEED + 1)) if sampling.seed is None else sampling


def _answer(end: End, texts: list[str]) -> Answer:
    return Answer("".join(texts), end.reason, end.prompt_tokens, end.completion_tokens, end.reused_tokens)


def _finished(line: Line, document: dict[str, Any], *, failed: bool) -> Finished:
    return Finished(line.number, line.digest, _encoded(document), failed)


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
