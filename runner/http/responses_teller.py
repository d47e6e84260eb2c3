"""Answers of /v1/responses: https://platform.openai.com/docs/api-reference/responses/object."""

from collections.abc import Sequence
from typing import Any

from ..engine.request import Update
from ..tools.plan import ToolPlan
from .answering import Collected
from .errors import Problem
from .response_items import Logprobs, Status, event, numbered
from .response_output import ResponseOutput
from .teller import Count, Last, Who, token_logprobs

CUT_OFF = {"reason": "max_output_tokens"}


class ResponsesTeller:
    """Tells what a model says and which functions it calls. `echo` is what each response repeats of its request."""

    def __init__(self, who: Who, last: Last, plan: ToolPlan | None, *, echo: dict[str, Any]) -> None:
        (prompt,) = last.call.prompts
        self._who, self._last, self._echo = who, last, echo
        self._wanted = prompt.sampling.logprobs is not None
        self._output = ResponseOutput(plan.parser() if plan else None)
        self._told = 0

    def whole(self, answers: Sequence[Collected]) -> dict[str, Any]:
        """A response object."""
        (answer,) = answers
        self._output.begin()
        self._output.take(answer.text, self._logprobs(answer.logprobs), over=True)
        self._output.end(_status(answers))
        return self._complete(answers)

    def opening(self) -> bytes:
        """That there is a response."""
        response = {"response": self._document("in_progress")}
        begun = [event("response.created", response), event("response.in_progress", response)]
        return self._numbered([*begun, *self._output.begin()])

    def told(self, number: int, update: Update) -> bytes:
        """What is said next, or called."""
        if not update.text and not update.end and not update.logprobs:
            return b""
        over = update.end is not None
        return self._numbered(self._output.take(update.text, self._logprobs(update.logprobs), over=over))

    def closing(self, answers: Sequence[Collected]) -> bytes:
        """The items are whole, and so is the response."""
        status = _status(answers)
        ended = self._output.end(status)
        return self._numbered([*ended, event(f"response.{status}", {"response": self._complete(answers)})])

    def failed(self, problem: Problem) -> bytes:
        """The error, and the response as far as it came."""
        error = problem.document()["error"]
        code, message = error["code"] or error["type"], error["message"]
        ended = self._output.end("incomplete")
        response = self._document("failed", error={"code": "server_error", "message": message})
        told = event("error", {"code": code, "message": message, "param": error["param"]})
        return self._numbered([*ended, told, event("response.failed", {"response": response})])

    def _numbered(self, events: Sequence[str]) -> bytes:
        first, self._told = self._told, self._told + len(events)
        return "".join(map(numbered, events, range(first, self._told))).encode()

    def _complete(self, answers: Sequence[Collected]) -> dict[str, Any]:
        status = _status(answers)
        return {
            **self._document(status, usage=_usage(Count.of(self._last.call, answers))),
            "incomplete_details": CUT_OFF if status == "incomplete" else None,
            **self._last.receipt(answers),
        }

    def _document(
        self, status: str, *, error: dict[str, Any] | None = None, usage: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        return {
            "id": self._who.id,
            "object": "response",
            "created_at": self._who.created,
            "status": status,
            "model": self._who.name,
            "system_fingerprint": self._who.fingerprint,
            "error": error,
            "incomplete_details": None,
            "output": self._output.document(),
            **self._echo,
            "usage": usage,
        }

    def _logprobs(self, told: Sequence[Any]) -> Logprobs:
        return token_logprobs(told, self._last.call.model.vocabulary.piece) if self._wanted and told else []


def _status(answers: Sequence[Collected]) -> Status:
    return "incomplete" if any(answer.end and answer.end.reason == "length" for answer in answers) else "completed"


def _usage(count: Count) -> dict[str, Any]:
    return {
        "input_tokens": count.read,
        "input_tokens_details": {"cached_tokens": count.reused, "cache_write_tokens": 0},
        "output_tokens": count.made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": count.read + count.made,
    }
