"""Answers of /v1/chat/completions: https://platform.openai.com/docs/api-reference/chat/object."""

import json
from collections.abc import Sequence
from typing import Any

from ..engine.request import Update
from ..tools.plan import ToolPlan
from .answering import DONE, Collected, event
from .chat_choice import ChatChoice, Delta
from .errors import Problem
from .teller import Last, Who, chat_logprobs, quoted

WHOLE, CHUNK = "chat.completion", "chat.completion.chunk"


class ChatTeller:
    """Tells what an assistant says and which tools it calls, in the words of `plan`'s family."""

    def __init__(self, who: Who, last: Last, plan: ToolPlan | None) -> None:
        self._who = who
        self._call, self._last = last.call, last
        self._wanted = [prompt.sampling.logprobs is not None for prompt in last.call.prompts]
        self._choices = [ChatChoice(plan.parser() if plan else None) for _ in last.call.prompts]
        self._head = json.dumps(who.document(CHUNK), separators=(",", ":"))[:-1] + ',"choices":[{"index":'

    def whole(self, answers: Sequence[Collected]) -> dict[str, Any]:
        """A chat.completion object."""
        choices = [self._choice(number, answer) for number, answer in enumerate(answers)]
        return {**self._who.document(WHOLE), "choices": choices, **self._last.document(answers)}

    def opening(self) -> bytes:
        """Who speaks."""
        first: Delta = {"role": "assistant", "content": ""}
        return b"".join(self._event(number, first) for number in range(len(self._choices)))

    def told(self, number: int, update: Update) -> bytes:
        """What is said next, or called."""
        if not update.text and not update.end and not update.logprobs:
            return b""
        choice = self._choices[number]
        logprobs = json.dumps(self._logprobs(update.logprobs)) if self._wanted[number] else "null"
        if choice.plain:
            # By far the most: one text, nothing else.
            events = self._text(number, update.text, logprobs) if update.text or update.logprobs else b""
        else:
            deltas = choice.take(update.text, over=update.end is not None)
            if not deltas and update.logprobs:
                deltas = [{}]
            events = b"".join(
                self._event(number, delta, logprobs if not n else "null") for n, delta in enumerate(deltas)
            )
        if update.end:
            events += self._event(number, {}, reason=choice.finish_reason(update.end))
        return events

    def closing(self, answers: Sequence[Collected]) -> bytes:
        """The count of tokens, if it is wanted, and the end."""
        if not self._last.streamed:
            return DONE
        return event({**self._who.document(CHUNK), "choices": [], **self._last.document(answers)}) + DONE

    def failed(self, problem: Problem) -> bytes:
        """The error."""
        return event(problem.document())

    def _text(self, number: int, text: str, logprobs: str) -> bytes:
        return self._written(number, f'{{"content":{json.dumps(text)}}}', logprobs, "null")

    def _event(self, number: int, delta: Delta, logprobs: str = "null", *, reason: str | None = None) -> bytes:
        return self._written(number, json.dumps(delta, separators=(",", ":")), logprobs, quoted(reason))

    def _written(self, number: int, delta: str, logprobs: str, reason: str) -> bytes:
        said = f'{number},"delta":{delta},"logprobs":{logprobs},"finish_reason":{reason}'
        return f"data: {self._head}{said}}}]}}\n\n".encode()

    def _choice(self, number: int, answer: Collected) -> dict[str, Any]:
        choice = self._choices[number]
        choice.take(answer.text, over=True)
        return {
            "index": number,
            "message": choice.message(),
            "logprobs": self._logprobs(answer.logprobs) if self._wanted[number] else None,
            "finish_reason": choice.finish_reason(answer.end) if answer.end else None,
        }

    def _logprobs(self, told: Sequence[Any]) -> dict[str, Any]:
        return chat_logprobs(told, self._call.model.vocabulary.piece)
