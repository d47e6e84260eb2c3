"""What is asked of a model: a conversation for its chat template, or a text as it stands."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from ...store import Digest
from ...store.manifest import canonical
from ..tools.tool import Tool
from .prompt import Message, chat_prompt, raw_prompt

if TYPE_CHECKING:
    from ..llama.model import LlamaModel


class Ask(Protocol):
    """A prompt before it is tokens."""

    @property
    def digest(self) -> Digest:
        """The SHA-256 of what was asked."""

    def tokens(self, model: "LlamaModel") -> list[int]:
        """What the model reads. Raises TemplateFailed."""

    def template(self, model: "LlamaModel") -> Digest | None:
        """The digest of the chat template that makes tokens of it; None without one."""

    def document(self) -> dict[str, Any]:
        """It as plain data."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A text that the model continues, special tokens included."""

    text: str

    @property
    def digest(self) -> Digest:
        """Of the text in UTF-8."""
        return Digest.of(self.text.encode())

    def tokens(self, model: "LlamaModel") -> list[int]:
        """The tokens of the text as it stands."""
        return raw_prompt(model, self.text)

    def template(self, _: "LlamaModel") -> None:
        """None is used."""

    def document(self) -> dict[str, Any]:
        """The text alone."""
        return {"messages": None, "raw": self.text, "clock": None}


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, and the tools that its template is told of. `clock` is the local time that a template is told
    when it asks, without a zone."""

    messages: tuple[Message, ...]
    clock: datetime = field(default_factory=datetime.now)
    tools: tuple[Tool, ...] = ()

    @property
    def digest(self) -> Digest:
        """Of the messages as canonical JSON, a list of {"content", "role"}; with tools, of {"messages", "tools"}."""
        turns, tools = self._turns(), self._tools()
        return Digest.of(canonical({"messages": turns, "tools": tools} if tools else turns))

    def tokens(self, model: "LlamaModel") -> list[int]:
        """The tokens of the conversation, ready for the assistant's turn."""
        return chat_prompt(model, self.messages, now=self.clock, tools=self.tools)

    def template(self, model: "LlamaModel") -> Digest | None:
        """The model's own."""
        source = model.chat_template
        return Digest.of(source.encode()) if source is not None else None

    def document(self) -> dict[str, Any]:
        """The messages and the time; the tools, if there are any."""
        tools = self._tools()
        found = {"messages": self._turns(), "raw": None, "clock": self.clock.isoformat()}
        return {**found, "tools": tools} if tools else found

    def _turns(self) -> list[dict[str, object]]:
        return [message.document() for message in self.messages]

    def _tools(self) -> list[dict[str, str]]:
        # The parameters as text: their order is part of the prompt, and canonical JSON sorts it away.
        return [{"name": t.name, "description": t.description, "parameters": t.schema} for t in self.tools]
