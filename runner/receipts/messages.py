"""The messages and tools of a receipt's conversation, read strictly."""

import json
from typing import Any

from ..chat.message import Message
from ..errors import InvalidReceipt
from ..tools.tool import Tool, ToolCall
from .fields import Fields

# They came with tools; a message is written without those that it does not have.
_LATER: dict[str, Any] = {"tool_calls": [], "tool_call_id": "", "name": ""}


def message(value: object, path: str) -> Message:
    """One turn. Raises InvalidReceipt, InvalidTool, TemplateFailed."""
    fields = Fields(value, "role", "content", where=path, later=_LATER)
    role, content, answered, name = (fields.text(one) for one in ("role", "content", "tool_call_id", "name"))
    return Message(role, content, fields.items("tool_calls", _call), answered, name)


def tool(value: object, path: str) -> Tool:
    """One tool; its parameters are JSON as text. Raises InvalidReceipt, InvalidTool."""
    fields = Fields(value, "name", "description", "parameters", where=path)
    try:
        parameters = json.loads(fields.text("parameters"))
    except (ValueError, RecursionError) as error:
        raise InvalidReceipt(f"{path}.parameters is not JSON") from error
    return Tool(fields.text("name"), fields.text("description"), parameters)


def _call(value: object, path: str) -> ToolCall:
    fields = Fields(value, "id", "name", "arguments", where=path)
    return ToolCall(fields.text("id"), fields.text("name"), fields.text("arguments"))
