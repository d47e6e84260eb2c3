"""How answers are written: in our own shape, or in that of OpenAI's batch files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

_LONGEST_MESSAGE = 500  # characters: an error repeats what is wrong, which may be a megabyte


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `reused_tokens` of the prompt were in the KV cache already."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    reused_tokens: int = 0


class Shape(Protocol):
    """What a line of the output looks like."""

    def answer(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The document of what was answered."""

    def error(self, message: str, *, ours: bool) -> dict[str, Any]:
        """The document of a line that has no answer; `ours` when the line is not to blame."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Our own shape; `id` is the line's own, or its number."""

    id: str | int

    def answer(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """{"id","text","finish_reason","prompt_tokens","completion_tokens"}."""
        (answer,) = answers
        return {
            "id": self.id,
            "text": answer.text,
            "finish_reason": answer.finish_reason,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
        }

    def error(self, message: str, *, ours: bool) -> dict[str, Any]:
        """{"id","error"}."""
        return {"id": self.id, "error": shortened(message)}


@dataclass(frozen=True, slots=True)
class OpenAI:
    """The shape of OpenAI's batch output: https://platform.openai.com/docs/api-reference/batch/request-output."""

    custom_id: str | None
    request_id: str
    chat: bool
    model: str
    created: int

    def answer(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """A chat.completion or text_completion object, with status 200."""
        body = {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.request_id}",
            "object": "chat.completion" if self.chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": [self._choice(index, answer) for index, answer in enumerate(answers)],
            "usage": _usage(answers),
        }
        return self._document(200, body)

    def error(self, message: str, *, ours: bool) -> dict[str, Any]:
        """An error object, with status 400 or 500."""
        kind = "server_error" if ours else "invalid_request_error"
        error = {"message": shortened(message), "type": kind, "param": None, "code": None}
        return self._document(500 if ours else 400, {"error": error})

    def _document(self, status: int, body: dict[str, Any]) -> dict[str, Any]:
        response = {"status_code": status, "request_id": self.request_id, "body": body}
        return {
            "id": f"batch_req_{self.request_id}",
            "custom_id": self.custom_id,
            "response": response,
            "error": None,
        }

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": answer.text}} if self.chat else {"text": answer.text}
        return {"index": index, **said, "logprobs": None, "finish_reason": answer.finish_reason}


def _usage(answers: Sequence[Answer]) -> dict[str, Any]:
    # The prompt counts once, however many answers were asked for.
    prompt, made = answers[0].prompt_tokens, sum(answer.completion_tokens for answer in answers)
    reused = {"cached_tokens": answers[0].reused_tokens}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": made,
        "total_tokens": prompt + made,
        "prompt_tokens_details": reused,
    }


def is_failure(document: dict[str, Any]) -> bool:
    """Whether a line of an output says that there is no answer."""
    response = document.get("response")
    if isinstance(response, dict):
        return response.get("status_code") != 200
    return document.get("error") is not None


def shortened(message: str) -> str:
    """A message on one line, of bearable length."""
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "…"
