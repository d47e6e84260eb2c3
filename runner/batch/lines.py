"""From a line of a batch's input to what it asks for, or to what is wrong with it."""

from typing import Any

from ..chat.ask import Ask, Chat, Raw
from ..chat.prompt import Message
from ..errors import InvalidLine, TemplateFailed
from . import openai
from .conversation import messages_of
from .job import Job, Refusal
from .reader import Line
from .settings import BatchSettings
from .shape import Plain, Shape
from .values import (
    SAMPLING,
    document_of,
    refuse_unknown,
    sampling_of,
    text_of,
    unicode_of,
)

_KEYS = frozenset({"id", "prompt", "messages"}) | SAMPLING


def read(line: Line, settings: BatchSettings) -> Job | Refusal:
    """What `line` asks for: in our own form, or in that of OpenAI's batch files."""
    shape: Shape = Plain(line.number)
    try:
        document = document_of(line)
        if openai.is_request(document):
            shape = openai.shape_of(document, line, settings)
            return openai.job_of(document, shape, settings)
        shape = Plain(_id(document, line))
        return _job(document, shape, settings)
    except (InvalidLine, TemplateFailed) as error:
        return Refusal(shape, f"line {line.place}: {error}")


def _id(document: dict[str, Any], line: Line) -> str | int:
    found = document.get("id", line.number)
    if isinstance(found, str):
        return unicode_of(found, "id")
    if type(found) is not int:
        raise InvalidLine("id is not a string or a whole number")
    return found


def _job(document: dict[str, Any], shape: Shape, settings: BatchSettings) -> Job:
    refuse_unknown(document, _KEYS)
    if ("prompt" in document) == ("messages" in document):
        raise InvalidLine("it needs a prompt, or messages, and not both")
    if "prompt" in document:
        ask = _prompt(text_of(document["prompt"], "prompt"), settings)
    else:
        ask = _chat(document["messages"], settings)
    return Job(ask, (sampling_of(document, settings.sampling),), shape)


def _prompt(text: str, settings: BatchSettings) -> Ask:
    return Raw(text) if settings.raw else Chat(_with_system((Message("user", text),), settings))


def _chat(value: object, settings: BatchSettings) -> Chat:
    if settings.raw:
        raise InvalidLine("messages need the chat template that --raw leaves out")
    return Chat(_with_system(messages_of(value, "messages"), settings))


def _with_system(messages: tuple[Message, ...], settings: BatchSettings) -> tuple[Message, ...]:
    if settings.system is None or messages[0].role == "system":
        return messages
    return (Message("system", settings.system), *messages)
