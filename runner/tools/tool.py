"""A tool that a model may call, and a call of one, in OpenAI's words."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ..errors import InvalidTool

MAX_TOOLS = 128
MAX_DEPTH = 64  # of parameters and arguments, objects and lists in each other
MAX_TEXT = 256 * 1024  # characters of a description, of parameters, of arguments

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,256}")


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that a model may call: `parameters` is a JSON Schema of an object, {} for none.

    Names are of letters, digits, _ and -, 64 at most. Raises InvalidTool.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)
        if not isinstance(self.description, str) or len(self.description) > MAX_TEXT or not _is_text(self.description):
            raise InvalidTool(f"the description of the tool {self.name} is no text of at most {MAX_TEXT} characters")
        if not isinstance(self.parameters, dict) or self.parameters.get("type", "object") != "object":
            raise InvalidTool(f"the parameters of the tool {self.name} are no JSON Schema of an object")
        if len(self.schema) > MAX_TEXT:
            raise InvalidTool(f"the parameters of the tool {self.name} have more than {MAX_TEXT} characters")

    @property
    def schema(self) -> str:
        """The parameters as JSON, in their own order: models are shown them in it. Raises InvalidTool."""
        try:
            text = json.dumps(self.parameters, ensure_ascii=False, allow_nan=False)
            if json.loads(text) == self.parameters and _is_text(text) and _is_shallow(self.parameters):
                return text
        except (TypeError, ValueError, RecursionError):
            pass
        raise InvalidTool(f"the parameters of the tool {self.name} are not JSON that can be read")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """That a model called the tool `name` with `arguments`, a JSON object as text. Raises InvalidTool."""

    id: str
    name: str
    arguments: str

    def __post_init__(self) -> None:
        check_id(self.id)
        check_name(self.name)
        if not isinstance(self.arguments, str) or len(self.arguments) > MAX_TEXT or not _is_text(self.arguments):
            raise InvalidTool(f"the arguments of the call {self.id} are no text of at most {MAX_TEXT} characters")
        self.parsed()

    def parsed(self) -> dict[str, Any]:
        """The arguments; no text at all means none. Raises InvalidTool."""
        try:
            found = json.loads(self.arguments or "{}", parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise InvalidTool(f"the arguments of the call {self.id} are not JSON that can be read") from error
        if not isinstance(found, dict) or not _is_shallow(found):
            raise InvalidTool(f"the arguments of the call {self.id} are not an object, or nested too deep")
        return found


def check_tools(tools: Sequence[Tool]) -> None:
    """Raises InvalidTool for more than 128, or two of one name."""
    if len(tools) > MAX_TOOLS:
        raise InvalidTool(f"there are {len(tools)} tools; {MAX_TOOLS} are the most")
    names = [tool.name for tool in tools]
    for name in names:
        if names.count(name) > 1:
            raise InvalidTool(f"there are two tools {name}")


def check_name(name: str) -> None:
    """Raises InvalidTool for what is no name of a tool."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidTool(f"{name!r:.100} is not the name of a tool: letters, digits, _ and -, 64 at most")


def check_id(id: str) -> None:
    """Raises InvalidTool for what cannot be the id of a call: templates print it, so it must not hold their marks."""
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise InvalidTool(f"{id!r:.100} is not the id of a call: letters, digits and _.:-, 256 at most")


def _is_text(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return True
        level = [item for one in level for item in (one.values() if isinstance(one, dict) else one) if _nests(item)]
    return False


def _nests(value: Any) -> bool:
    return isinstance(value, dict | list)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
