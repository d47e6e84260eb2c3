"""Tools for models that know of none: the system message says how to call them, and calls and their results are
written into messages as text."""

import json
from collections.abc import Sequence

from ..chat.message import Message
from .tool import Tool, ToolCall

_HEAD = "You can use these tools, each described by a line of JSON:"
_CALL = 'To use a tool, answer only with JSON of its name and arguments: {"name": ..., "arguments": {...}}'
_SEVERAL = "To use several tools at once, answer with a JSON list of such objects."
_REPLY = 'When no tool helps, answer yourself, in JSON too: {"reply": ...}'
_MUST = "You must use a tool now."


def instruction(tools: Sequence[Tool], *, several: bool, forced: bool) -> str:
    """What a model is told of the tools."""
    lines = [
        json.dumps({"name": t.name, "description": t.description, "parameters": t.parameters}, ensure_ascii=False)
        for t in tools
    ]
    return "\n".join([_HEAD, *lines, _CALL, *([_SEVERAL] if several else []), _MUST if forced else _REPLY])


def with_system(messages: Sequence[Message], text: str) -> tuple[Message, ...]:
    """The messages, with `text` at the end of their system message; they may not have had one."""
    if not text:
        return tuple(messages)
    if messages and messages[0].role == "system":
        first, *rest = messages
        return (Message("system", f"{first.content}\n\n{text}" if first.content else text), *rest)
    return (Message("system", text), *messages)


def spelled_out(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages without calls and results: an assistant's calls become its text, results the user's.

    A user's turn behind results joins them, because many templates want the roles to alternate.
    """
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    found: list[Message] = []
    after_results = False
    for message in messages:
        result = message.role == "tool"
        turn = _result(message, names) if result else _said(message)
        if after_results and turn.role == "user":
            turn = Message("user", f"{found.pop().content}\n\n{turn.content}")
        after_results = result or (after_results and turn.role == "user")
        found.append(turn)
    return tuple(found)


def _result(message: Message, names: dict[str, str]) -> Message:
    name = message.name or names.get(message.tool_call_id, "the tool")
    return Message("user", f"Result of {name}:\n{message.content}")


def _said(message: Message) -> Message:
    if not message.tool_calls:
        return message
    calls = [_call(call) for call in message.tool_calls]
    text = calls[0] if len(calls) == 1 else f"[{', '.join(calls)}]"
    return Message("assistant", f"{message.content}\n{text}" if message.content else text)


def _call(call: ToolCall) -> str:
    return f'{{"name": "{call.name}", "arguments": {call.arguments or "{}"}}}'
