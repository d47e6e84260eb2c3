"""From the items that a response is asked with to the turns of a conversation."""

from collections.abc import Sequence

from ..chat.message import Message
from ..errors import InvalidTool
from ..tools.tool import ToolCall
from .errors import place
from .shapes.items import FunctionCall, FunctionCallOutput, Item, Turn, text_of


def turns_of(instructions: str | None, input: str | Sequence[Item]) -> list[Message]:
    """The turns, the instructions in front. Raises ApiError, which says where."""
    turns = _Turns()
    if instructions:
        turns.say("system", instructions)
    if isinstance(input, str):
        turns.say("user", input)
        return turns.all()
    for n, item in enumerate(input):
        with place(f"input.{n}"):
            turns.add(item)
    return turns.all()


class _Turns:
    """Calls are items of their own, but belong to the assistant's turn before them; without one they are a turn."""

    def __init__(self) -> None:
        self._found: list[Message] = []
        self._calls: list[ToolCall] = []
        self._ids: set[str] = set()

    def add(self, item: Item) -> None:
        match item:
            case Turn():
                # The newer name of the same thing, which templates do not know.
                self.say("system" if item.role == "developer" else item.role, text_of(item.content))
            case FunctionCall():
                self._calls.append(ToolCall(item.call_id, item.name, item.arguments))
                self._ids.add(item.call_id)
            case FunctionCallOutput():
                if item.call_id not in self._ids:
                    raise InvalidTool(f"there is no function_call {item.call_id!r:.100} before its output")
                self.say("tool", text_of(item.output), item.call_id)

    def say(self, role: str, text: str, call_id: str = "") -> None:
        self._settle()
        self._found.append(Message(role, text, tool_call_id=call_id))

    def all(self) -> list[Message]:
        self._settle()
        return self._found

    def _settle(self) -> None:
        if self._calls:
            said = self._found.pop().content if self._found and self._found[-1].role == "assistant" else ""
            self._found.append(Message("assistant", said, tuple(self._calls)))
            self._calls = []
