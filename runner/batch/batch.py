"""A batch on its way: lines become requests, and their answers become lines in the same order."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from ..engine.request import End, Request, Update
from ..errors import ExtraMissing, PromptEmpty, PromptTooLong, RunnerError
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


class Submits(Protocol):
    """An engine: `receive` is called with each update of the request, from any thread."""

    def submit(self, request: Request, receive: Callable[[Update], None]) -> int: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a batch asks for at once: prompts of less than `context` tokens, `requests` of them."""

    context: int
    requests: int
    window_lines: int = WINDOW_LINES
    window_bytes: int = WINDOW_BYTES


@dataclass(slots=True)
class _Pending:
    """A line whose answers are coming, and the pieces of each."""

    line: Line
    job: Job
    texts: list[list[str]]
    ends: list[End | None] = field(default_factory=list)


class Batch:
    """Answers lines with an engine, some at once, and writes what they got in the order of the lines.

    `model` makes tokens of prompts; its vocabulary is all that is needed. `progress` is called as things happen.
    """

    def __init__(
        self,
        engine: Submits,
        model: "LlamaModel",
        *,
        settings: BatchSettings,
        bounds: Bounds,
        progress: Callable[[Tally], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._model = model
        self._settings = settings
        self._bounds = bounds
        self._progress = progress
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def run(self, lines: Iterator[Line], results: Results) -> Tally:
        """Answer all lines that `results` has no answer for yet. Raises OtherBatch, and what the engine fails with."""
        results.pass_over(lines)
        self._results = results
        self._tally = Tally(lines=results.lines, failed=results.failed, resumed=results.lines)
        self._window = Window(lines=self._bounds.window_lines, size=self._bounds.window_bytes, first=results.lines)
        self._next, self._flying, self._asked, self._ended = results.lines, 0, False, False
        with Feed(lines, lambda line: self._events.put(partial(self._arrived, line))) as feed:
            while True:
                self._ask(feed)
                if self._ended and not self._flying:
                    break
                self._events.get()()
                self._tally.seconds = time.monotonic() - self._tally.began
                self._progress(self._tally)
        results.finish()
        return self._tally

    def _ask(self, feed: Feed) -> None:
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
            self._submit(line, job, prompt)
        except ExtraMissing:
            raise
        except RunnerError as error:
            self._fail(line, job.shape.error(f"line {line.place}: {error}", ours=False))

    def _prompt(self, job: Job) -> tuple[int, ...]:
        tokens = tuple(job.ask.tokens(self._model))
        if not tokens:
            raise PromptEmpty("the prompt is empty")
        if len(tokens) + 1 > self._bounds.context:
            raise PromptTooLong(len(tokens), self._bounds.context)
        return tokens

    def _submit(self, line: Line, job: Job, prompt: tuple[int, ...]) -> None:
        pending = _Pending(line, job, [[] for _ in range(job.choices)], [None] * job.choices)
        for choice in range(job.choices):
            request = Request(prompt, _seeded(job.sampling, choice))
            self._engine.submit(request, partial(self._receive, pending, choice))
            self._flying += 1

    def _receive(self, pending: _Pending, choice: int, update: Update) -> None:
        self._events.put(partial(self._updated, pending, choice, update))

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
        unanswered = [end for end in ends if end.reason not in ("stop", "length")]
        if unanswered:
            why = unanswered[0].error or unanswered[0].reason
            self._fail(pending.line, pending.job.shape.error(f"line {pending.line.place}: {why}", ours=True))
            return
        answers = [_answer(end, texts) for end, texts in zip(ends, pending.texts, strict=True)]
        self._tally.prompt_tokens += answers[0].prompt_tokens
        self._tally.completion_tokens += sum(answer.completion_tokens for answer in answers)
        self._finish(pending.line, pending.job.shape.answer(answers), failed=False)

    def _fail(self, line: Line, document: dict[str, Any]) -> None:
        self._finish(line, document, failed=True)

    def _finish(self, line: Line, document: dict[str, Any], *, failed: bool) -> None:
        finished = Finished(line.number, line.digest, _encoded(document), failed)
        if line.number != self._window.next:
            self._results.keep(finished)
        self._put(finished)

    def _put(self, finished: Finished) -> None:
        self._window.put(finished)
        ready = self._window.take()
        if ready:
            self._results.write(ready, self._window.waiting)
            self._tally.lines += len(ready)
            self._tally.failed += sum(each.failed for each in ready)


def _seeded(sampling: Sampling, choice: int) -> Sampling:
    # A request that an engine begins again goes on as it was.
    first = secrets.randbelow(MAX_SEED + 1) if sampling.seed is None else sampling.seed
    return replace(sampling, seed=(first + choice) % (MAX_SEED + 1))


def _answer(end: End, texts: list[str]) -> Answer:
    return Answer("".join(texts), end.reason, end.prompt_tokens, end.completion_tokens, end.reused_tokens)


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
