"""Lines of OpenAI's batch files: https://platform.openai.com/docs/guides/batch."""

import hashlib
import time
from typing import Any

from ..chat.ask import Ask, Chat, Raw
from ..errors import InvalidLine, InvalidSampling
from ..sampling import Sampling, answers
from .conversation import messages_of
from .job import Job
from .reader import Line
from .settings import BatchSettings
from .shape import OpenAI, Shape
from .values import SAMPLING, object_of, refuse_unknown, sampling_of, text_of, unicode_of

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"

_LINE = ("custom_id", "method", "url", "body")
_MARKS = frozenset(_LINE)
# What says who asks, or what is so anyway, changes no answer.
_IGNORED = frozenset({"user", "metadata", "store", "service_tier", "parallel_tool_calls"})
_BODY = (
    frozenset({"model", "n", "max_completion_tokens", "response_format", "stream", "logprobs", "top_logprobs"})
    | _IGNORED
    | SAMPLING
)


def is_request(document: dict[str, Any]) -> bool:
    """Whether a line is in OpenAI's form."""
    return not _MARKS.isdisjoint(document)


def shape_of(document: dict[str, Any], line: Line, settings: BatchSettings) -> OpenAI:
    """In which shape it is answered, as far as the line can be read."""
    name, body = document.get("custom_id"), document.get("body")
    model = body.get("model") if isinstance(body, dict) else None
    return OpenAI(
        custom_id=name if isinstance(name, str) and not _is_broken(name) else None,
        request_id=hashlib.sha256(f"{line.number} {line.digest}".encode()).hexdigest()[:32],
        chat=document.get("url") != COMPLETIONS,
        model=model if isinstance(model, str) else str(settings.model),
        created=int(time.time()),
    )


def _is_broken(text: str) -> bool:
    try:
        unicode_of(text, "")
    except InvalidLine:
        return True
    return False


def job_of(document: dict[str, Any], shape: Shape, settings: BatchSettings) -> Job:
    """What it asks for. Raises InvalidLine, TemplateFailed."""
    refuse_unknown(document, _LINE)
    text_of(document.get("custom_id"), "custom_id")
    if document.get("method", "POST") != "POST":
        raise InvalidLine("method is not POST")
    if document.get("url") not in (CHAT, COMPLETIONS):
        raise InvalidLine(f"url is not {CHAT} or {COMPLETIONS}")
    body = object_of(document.get("body"), "body")
    own = "messages" if document["url"] == CHAT else "prompt"
    refuse_unknown(body, _BODY | {own}, where="body")
    _check_model(body.get("model"), settings)
    for name in ("stream", "logprobs", "top_logprobs"):
        if body.get(name):
            raise InvalidLine(f"body.{name} is not offered in a batch")
    ask = Chat(messages_of(body.get("messages"), "body.messages")) if own == "messages" else _prompt(body.get("prompt"))
    return Job(ask, _samplings(body, settings), shape)


def _check_model(value: object, settings: BatchSettings) -> None:
    if value is not None and not settings.is_model(text_of(value, "body.model")):
        raise InvalidLine(f"body.model is {value!r}, this batch runs {settings.name or settings.model}")


def _samplings(body: dict[str, Any], settings: BatchSettings) -> tuple[Sampling, ...]:
    sampling = sampling_of(_renamed(body), settings.sampling)
    try:
        return answers(sampling, 1 if body.get("n") is None else body["n"])
    except InvalidSampling as error:
        raise InvalidLine(str(error)) from error


def _renamed(body: dict[str, Any]) -> dict[str, Any]:
    """What OpenAI calls otherwise, under our names."""
    found = dict(body)
    newer = found.pop("max_completion_tokens", None)
    if newer is not None:
        found["max_tokens"] = newer
    form = found.pop("response_format", None)
    if form is not None:
        found |= _format(object_of(form, "body.response_format"))
    return found


def _format(form: dict[str, Any]) -> dict[str, Any]:
    kind = form.get("type")
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"json_schema": {"type": "object"}}
    if kind != "json_schema":
        raise InvalidLine("body.response_format.type is not text, json_object or json_schema")
    where = "body.response_format.json_schema"
    return {"json_schema": object_of(object_of(form.get("json_schema"), where).get("schema"), f"{where}.schema")}


def _prompt(value: object) -> Ask:
    return Raw(text_of(value, "body.prompt"))
