"""Answers of /v1/completions: https://platform.openai.com/docs/api-reference/completions/object."""

import json
from collections.abc import Sequence
from typing import Any

from ..engine.request import Update
from .answering import DONE, Collected, event
from .errors import Problem
from .teller import Last, Who, completion_logprobs, quoted

KIND = "text_completion"


class CompletionTeller:
    """Tells what continues each prompt; `echoes` are put before the answers."""

    def __init__(self, who: Who, last: Last, *, echoes: Sequence[str] = ()) -> None:
        self._who = who
        self._call, self._last = last.call, last
        self._echoes = echoes
        self._wanted = [prompt.sampling.logprobs is not None for prompt in last.call.prompts]
        self._said = [len(echo) for echo in echoes] or [0] * len(last.call.prompts)
        self._head = json.dumps(who.document(KIND), separators=(",", ":"))[:-1] + ',"choices":[{"index":'

    def whole(self, answers: Sequence[Collected]) -> dict[str, Any]:
        """A text_completion object."""
        choices = [self._choice(number, answer) for number, answer in enumerate(answers)]
        return {**self._who.document(KIND), "choices": choices, **self._last.document(answers)}

    def opening(self) -> bytes:
        """The prompts, where they are to be echoed."""
        return b"".join(self._event(number, echo) for number, echo in enumerate(self._echoes))

    def told(self, number: int, update: Update) -> bytes:
        """The next text, if there is any."""
        if not update.text and not update.end and not update.logprobs:
            return b""
        logprobs = "null"
        if self._wanted[number]:
            logprobs = json.dumps(self._logprobs(update, self._said[number]))
            self._said[number] += len(update.text)
        return self._event(number, update.text, logprobs, update.end.reason if update.end else None)

    def closing(self, answers: Sequence[Collected]) -> bytes:
        """The count of tokens, if it is wanted, and the end."""
        if not self._last.streamed:
            return DONE
        return event({**self._who.document(KIND), "choices": [], **self._last.document(answers)}) + DONE

    def failed(self, problem: Problem) -> bytes:
        """The error."""
        return event(problem.document())

    def _event(self, number: int, text: str, logprobs: str = "null", reason: str | None = None) -> bytes:
        # Made by hand: it is made for every token of every client.
        said = f'{number},"text":{json.dumps(text)},"logprobs":{logprobs},"finish_reason":{quoted(reason)}'
        return f"data: {self._head}{said}}}]}}\n\n".encode()

    def _choice(self, number: int, answer: Collected) -> dict[str, Any]:
        echo = self._echoes[number] if self._echoes else ""
        told = None
        if self._wanted[number]:
            told = completion_logprobs(answer.logprobs, self._call.model.vocabulary.piece, offset=len(echo))
        reason = answer.end.reason if answer.end else None
        return {"index": number, "text": echo + answer.text, "logprobs": told, "finish_reason": reason}

    def _logprobs(self, update: Update, offset: int) -> dict[str, Any]:
        return completion_logprobs(update.logprobs, self._call.model.vocabulary.piece, offset=offset)
