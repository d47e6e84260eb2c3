"""Messages and tools as chat templates expect them: as transformers hands them over, in OpenAI's shape."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..tools.tool import Tool, ToolCall
from .message import Message

# Most templates want arguments as an object, which they write themselves; these join them to a text of theirs.
_JOINS_ARGUMENTS = re.compile(r"[+~]\s*[\w.'\"\[\]]*\barguments['\"]?+\]?+(?!\s*\|)")
# These tell a message that only calls tools by a content of none.
_TESTS_CONTENT = re.compile(r"content['\"]?\]? is (not )?none")
# Mistral's take no other ids.
_SHORT_IDS = re.compile(r"length\s*[!=]=\s*9")
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")

Values = dict[str, Any]
Change = Callable[[str], str]


def values_of(source: str, messages: Sequence[Message], tools: Sequence[Tool]) -> Values:
    """What a template is told of a conversation: its messages, and its tools, None when there are none."""
    return {"messages": [_turn(source, one) for one in messages], "tools": [_tool(one) for one in tools] or None}


def changed(values: Values, content: Change, detail: Change) -> Values:
    """`values` with every message's content changed by one, and by another the texts inside of tools and calls."""
    turns = [{**turn, "content": turn["content"] and content(turn["content"])} for turn in values["messages"]]
    for turn in turns:
        if "tool_calls" in turn:
            turn["tool_calls"] = [_inside(call, "arguments", detail) for call in turn["tool_calls"]]
    tools = [_inside(_inside(tool, "description", detail), "parameters", detail) for tool in values["tools"] or ()]
    return {"messages": turns, "tools": tools or None}


def texts(values: Values) -> Iterator[str]:
    """Every text in it that comes from people: what is said, and all inside of tools and calls."""
    for turn in values["messages"]:
        yield from _leaf_texts([turn["content"], turn.get("tool_call_id"), turn.get("name")])
        yield from _leaf_texts([[call["id"], *call["function"].values()] for call in turn.get("tool_calls", ())])
    yield from _leaf_texts([[*tool["function"].values()] for tool in values["tools"] or ()])


def fixed_texts(values: Values) -> Iterator[str]:
    """Those of them that `changed` leaves as they are: keys, names and ids."""
    return texts(changed(values, lambda _: "", lambda _: ""))


def _leaf_texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item


def _turn(source: str, message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        found["tool_calls"] = [_call(source, call) for call in message.tool_calls]
        if not message.content and _TESTS_CONTENT.search(source):
            found["content"] = None
    if message.tool_call_id:
        found["tool_call_id"] = _id(source, message.tool_call_id)
    return found | ({"name": message.name} if message.name else {})


def _call(source: str, call: ToolCall) -> dict[str, Any]:
    arguments = (call.arguments or "{}") if _JOINS_ARGUMENTS.search(source) else call.parsed()
    function = {"name": call.name, "arguments": arguments}
    return {"id": _id(source, call.id), "type": "function", "function": function}


def _id(source: str, id: str) -> str:
    if not _SHORT_IDS.search(source) or _SHORT_ID.fullmatch(id):
        return id
    return hashlib.sha256(id.encode()).hexdigest()[:9]


def _tool(tool: Tool) -> dict[str, Any]:
    parameters = tool.parameters or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _inside(item: dict[str, Any], name: str, change: Change) -> dict[str, Any]:
    function = item["function"]
    return {**item, "function": {**function, name: _leaves(function[name], change)}}


def _leaves(value: Any, change: Change) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _leaves(item, change) for key, item in value.items()}
    return [_leaves(item, change) for item in value] if isinstance(value, list) else value
