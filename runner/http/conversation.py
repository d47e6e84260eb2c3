"""A conversation that is to be answered, whichever route it came by."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..chat.ask import Chat
from ..chat.message import Message
from ..sampling import Sampling
from ..serve.model import ServedModel
from ..tools.plan import AUTO, NONE, REQUIRED, ToolPlan, plan
from ..tools.tool import Tool
from .errors import ApiError, Problem


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools that an answer may call. `choice` is "none", "auto", "required", or the one that must be called."""

    tools: tuple[Tool, ...]
    choice: str
    parallel: bool

    def plan(self, model: ServedModel) -> ToolPlan | None:
        """How the model calls them; None without tools. Raises InvalidTool, and ApiError for a choice of nothing."""
        if self.choice not in (NONE, AUTO, *(tool.name for tool in self.tools), *((REQUIRED,) if self.tools else ())):
            said = f"tool_choice asks for a call, but there is no tool {self.choice!r:.100}"
            if self.choice == REQUIRED:
                said = "tool_choice asks for a call, but there are no tools"
            raise ApiError(Problem(400, said, param="tool_choice", code="invalid_value"))
        if not self.tools:
            return None
        return plan(self.tools, self.choice, parallel=self.parallel, template_source=model.vocabulary.chat_template)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as the model reads it, how it is to be answered, and how calls in the answer are found."""

    chat: Chat
    tokens: tuple[int, ...]
    sampling: Sampling
    plan: ToolPlan | None

    @classmethod
    def of(cls, messages: Sequence[Message], sampling: Sampling, offer: Offer, model: ServedModel) -> "Conversation":
        """Takes milliseconds, and as long as the template's limit at most. Raises TemplateFailed, InvalidTool."""
        planned = offer.plan(model)
        if planned:
            sampling = planned.sampling(sampling, model.vocabulary)
        chat = planned.chat(messages) if planned else Chat(tuple(messages))
        return cls(chat, tuple(chat.tokens(model.vocabulary)), sampling, planned)
