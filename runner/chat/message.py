"""One turn of a conversation."""

from dataclasses import dataclass

from ..errors import InvalidTool, TemplateFailed
from ..tools.tool import ToolCall, check_id, check_name


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is a word such as system, user, assistant or tool.

    An assistant's may have `tool_calls`, and then no content; a tool's says with `tool_call_id`, and `name` if it
    likes, which call it is the result of. Raises TemplateFailed, InvalidTool.
    """

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        # Templates print the role between their marks, so it must not be able to hold one.
        if not self.role.isidentifier():
            raise TemplateFailed(f"{self.role!r} is not a role")
        if self.tool_calls and self.role != "assistant":
            raise InvalidTool(f"a message of the role {self.role} calls tools, which only an assistant's can")
        if self.tool_call_id:
            check_id(self.tool_call_id)
        if self.name:
            check_name(self.name)

    def document(self) -> dict[str, object]:
        """It as plain data: what is not there is left out, so that plain messages are spelled as they always were."""
        found: dict[str, object] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            found["tool_calls"] = [
                {"id": call.id, "name": call.name, "arguments": call.arguments} for call in self.tool_calls
            ]
        return found | {name: value for name in ("tool_call_id", "name") if (value := getattr(self, name))}
