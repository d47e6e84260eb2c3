"""What to do so that a model can call tools: what it is told, what it may write, and how its answer is read."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from ..chat.ask import Chat
from ..chat.message import Message
from ..errors import InvalidTool
from ..sampling import Sampling
from .families import GENERIC, Family, family_of
from .forcing import calls_grammar, reply_or_calls_grammar
from .parser import CallParser, Expected
from .plain import instruction, spelled_out, with_system
from .tool import Tool, check_tools

if TYPE_CHECKING:
    from ..llama.model import LlamaModel

NONE, AUTO, REQUIRED = "none", "auto", "required"


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """How one answer may call tools.

    `tools` are those that the template is told of, `instruction` is what the system message says of them where the
    template cannot. `grammar` (GBNF) is what the answer must follow, None if anything. `expected` are the calls that
    are read in it.
    """

    family: Family
    tools: tuple[Tool, ...]
    instruction: str
    grammar: str | None
    expected: Expected

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that must be seen in the answer, also where they are special tokens."""
        return self.family.marks if self.expected.form else ()

    def chat(self, messages: Sequence[Message], clock: datetime | None = None) -> Chat:
        """The conversation as it is to be asked. `clock` is what its template is told, by default the time now."""
        turns = with_system(spelled_out(messages) if self.family == GENERIC else messages, self.instruction)
        return Chat(turns, clock or datetime.now(), self.tools)

    def sampling(self, wanted: Sampling, model: "LlamaModel") -> Sampling:
        """`wanted` as this plan needs it. Raises InvalidTool when both have a grammar."""
        if self.grammar and wanted.grammar:
            raise InvalidTool("tools and a grammar, or a response_format, cannot both decide the form of an answer")
        shown = {token for mark in self.marks if (token := _special(model, mark)) is not None}
        return replace(
            wanted,
            grammar=self.grammar or wanted.grammar,
            shown_tokens=tuple(sorted({*wanted.shown_tokens, *shown})),
        )

    def parser(self, source: random.Random | None = None) -> CallParser:
        """A fresh reader of one answer; `source` makes the ids of calls, by default unpredictable ones."""
        return CallParser(self.expected, source or random.SystemRandom())


def plan(tools: Sequence[Tool], choice: str = AUTO, *, parallel: bool = True, template_source: str | None) -> ToolPlan:
    """How to let, or make, a model with this chat template call `tools`.

    `choice` is "none", "auto", "required", or the name of the tool that must be called; `parallel` is whether one
    answer may call several. Raises InvalidTool, also for parameters that a call which must be made cannot be kept to.
    """
    check_tools(tools)
    family = family_of(template_source)
    offered = _offered(tools, choice)
    if not offered:
        return ToolPlan(family, (), "", None, Expected(None, ()))
    several = parallel and family.several and choice in (AUTO, REQUIRED)
    expected = Expected(family.form, frozenset(tool.name for tool in offered), None if parallel else 1)
    forced = choice != AUTO
    if family != GENERIC:
        return ToolPlan(family, tuple(tools), "", _forced(offered, family, several) if forced else None, expected)
    said = instruction(offered, several=several, forced=forced)
    return ToolPlan(family, (), said, _generic(offered, several=several, forced=forced), expected)


def _offered(tools: Sequence[Tool], choice: str) -> tuple[Tool, ...]:
    if choice == NONE or (choice == AUTO and not tools):
        return ()
    if not tools:
        raise InvalidTool(f"the choice of tools is {choice!r:.100}, and there are none")
    if choice in (AUTO, REQUIRED):
        return tuple(tools)
    named = tuple(tool for tool in tools if tool.name == choice)
    if not named:
        raise InvalidTool(f"the choice of tools is {choice!r:.100}, which is none of them")
    return named


def _forced(tools: Sequence[Tool], family: Family, several: bool) -> str:
    return calls_grammar(tools, family.style, several=several)


def _generic(tools: Sequence[Tool], *, several: bool, forced: bool) -> str:
    made = calls_grammar if forced else reply_or_calls_grammar
    return made(tools, GENERIC.style, several=several)


def _special(model: "LlamaModel", mark: str) -> int | None:
    """The token that is this mark and whose text is not shown; None where it is plain text."""
    tokens = model.tokenize(mark, add_special=False, parse_special=True)
    return tokens[0] if len(tokens) == 1 and not model.piece(tokens[0]) else None
