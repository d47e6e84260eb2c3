"""What is asked of a model: a conversation for its chat template, or a text as it stands."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from ...store import Digest
from ...store.manifest import canonical
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
    """A conversation. `clock` is the local time that a template is told when it asks, without a zone."""

    messages: tuple[Message, ...]
    clock: datetime = field(default_factory=datetime.now)

    @property
    def digest(self) -> Digest:
        """Of the messages as canonical JSON: a list of {"content", "role"}."""
        return Digest.of(canonical(self._turns()))

    def tokens(self, model: "LlamaModel") -> list[int]:
        """The tokens of the conversation, ready for the assistant's turn."""
        return chat_prompt(model, self.messages, now=self.clock)

    def template(self, model: "LlamaModel") -> Digest | None:
        """The model's own."""
        source = model.chat_template
        return Digest.of(source.encode()) if source is not None else None

    def document(self) -> dict[str, Any]:
        """The messages and the time."""
        return {"messages": self._turns(), "raw": None, "clock": self.clock.isoformat()}

    def _turns(self) -> list[dict[str, str]]:
        return [{"role": message.role, "content": message.content} for message in self.messages]
