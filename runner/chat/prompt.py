"""From what people write to the tokens a model reads.

A chat template's own marks (`<|im_start|>`) become special tokens; the same characters in a person's text stay text,
so that nobody can end their turn and begin another's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import TemplateFailed
from .template import Template

if TYPE_CHECKING:
    from ..llama.model import LlamaModel

PRIVATE_USE = range(0xE000, 0xF900)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is a word such as system, user or assistant. Raises TemplateFailed."""

    role: str
    content: str

    def __post_init__(self) -> None:
        # Templates print the role between their marks, so it must not be able to hold one.
        if not self.role.isidentifier():
            raise TemplateFailed(f"{self.role!r} is not a role")


def raw_prompt(model: "LlamaModel", text: str) -> list[int]:
    """The tokens of `text` as it stands, special tokens included, as in llama-cpp-python's create_completion."""
    return model.tokenize(text, add_special=True, parse_special=True)


def chat_prompt(model: "LlamaModel", messages: Sequence[Message], *, now: datetime | None = None) -> list[int]:
    """The tokens of a conversation in the model's own chat template, ready for the assistant's turn.

    A template that asks for the time is told `now`, by default what this machine's clock shows.
    Raises TemplateFailed, also for a model without a template that is given more than one user message.
    """
    source = model.chat_template
    if source is None:
        return raw_prompt(model, _only_user_text(messages))
    template = Template(source, bos=model.bos, eos=model.eos, now=now)
    rendered = _render(template, messages)
    if not any(_holds_special(model, message.content) for message in messages):
        text = _without_bos(model, rendered)
        return model.tokenize(text, add_special=True, parse_special=True)
    return _guarded_tokens(model, template, messages)


def _only_user_text(messages: Sequence[Message]) -> str:
    if len(messages) != 1 or messages[0].role != "user":
        message = "the model has no chat template, so it takes one user message and no others"
        raise TemplateFailed(message, hint="put everything into one prompt and use --raw")
    return messages[0].content


def _render(template: Template, messages: Sequence[Message]) -> str:
    return template.render([{"role": m.role, "content": m.content} for m in messages])


def _without_bos(model: "LlamaModel", text: str) -> str:
    """`text` without the BOS its template wrote, where tokenizing adds one anyway."""
    return text.removeprefix(model.bos) if model.add_bos and model.bos else text


def _holds_special(model: "LlamaModel", text: str) -> bool:
    special = model.tokenize(text, add_special=False, parse_special=True)
    return special != model.tokenize(text, add_special=False, parse_special=False)


def _guarded_tokens(model: "LlamaModel", template: Template, messages: Sequence[Message]) -> list[int]:
    opening, closing = _free_marks(template.source, messages)
    marked = _render(template, [_mark(message, opening, closing) for message in messages])
    if marked.replace(opening, "").replace(closing, "") != _render(template, messages):
        raise TemplateFailed("the chat template changes text that holds special tokens, so it cannot be kept apart")
    tokens: list[int] = []
    for n, (text, from_person) in enumerate(_spans(_without_bos(model, marked), opening, closing)):
        tokens += model.tokenize(text, add_special=n == 0, parse_special=not from_person)
    return tokens


def _free_marks(source: str, messages: Sequence[Message]) -> tuple[str, str]:
    """Two characters that neither the template nor any message holds."""
    taken = set(source).union(*(message.content for message in messages))
    free = [chr(code) for code in PRIVATE_USE if chr(code) not in taken][:2]
    if len(free) < 2:
        raise TemplateFailed("the messages hold special tokens and every character that could set them apart")
    return free[0], free[1]


def _mark(message: Message, opening: str, closing: str) -> Message:
    """`message` with its content between marks; templates trim the space around it, which stays outside."""
    core = message.content.strip()
    if not core:
        return message
    before, after = message.content.split(core, 1)
    return replace(message, content=before + opening + core + closing + after)


def _spans(text: str, opening: str, closing: str) -> Iterator[tuple[str, bool]]:
    """The parts of `text`, the template's and a person's by turns, beginning with the template's."""
    head, *rest = text.split(opening)
    if closing in head:
        raise TemplateFailed("the chat template cuts text that holds special tokens")
    yield head, False
    for part in rest:
        person, mark, template = part.partition(closing)
        if not mark or closing in template:
            raise TemplateFailed("the chat template cuts text that holds special tokens")
        yield person, True
        yield template, False
