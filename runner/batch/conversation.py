"""Conversations as lines of JSON write them."""

from ..chat.prompt import Message
from ..errors import InvalidLine
from .values import items_of, object_of, refuse_unknown, text_of, unicode_of


def messages_of(value: object, where: str) -> tuple[Message, ...]:
    """The turns in a list of `{"role","content"}`; a content may be in parts, if all are text.

    Raises InvalidLine, and TemplateFailed for a role that is no word.
    """
    return tuple(_message(item, f"{where}[{n}]") for n, item in enumerate(items_of(value, where)))


def _message(value: object, where: str) -> Message:
    found = object_of(value, where)
    refuse_unknown(found, ("role", "content"), where=where)
    role = text_of(found.get("role"), f"{where}.role")
    # The newer name of the same thing, which templates do not know.
    role = "system" if role == "developer" else role
    return Message(role, unicode_of(_content(found.get("content"), f"{where}.content"), f"{where}.content"))


def _content(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise InvalidLine(f"{where} is not a string")
    return "".join(_part(part, f"{where}[{n}]") for n, part in enumerate(items_of(value, where)))


def _part(value: object, where: str) -> str:
    found = object_of(value, where)
    if found.get("type") != "text" or not isinstance(found.get("text"), str):
        raise InvalidLine(f"{where} is not text")
    return str(found["text"])
