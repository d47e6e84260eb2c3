"""From what people write to the tokens a model reads.

A chat template's own marks (`<|im_start|>`) become special tokens; the same characters in a person's text stay text,
so that nobody can end their turn and begin another's.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import TemplateFailed
from ..tools.tool import Tool
from .message import Message
from .template import Template
from .turns import Values, changed, fixed_texts, texts, values_of

if TYPE_CHECKING:
    from ..llama.model import LlamaModel

__all__ = ["Message", "chat_prompt", "raw_prompt"]

PRIVATE_USE = range(0xE000, 0xF900)


def raw_prompt(model: "LlamaModel", text: str) -> list[int]:
    """The tokens of `text` as it stands, special tokens included, as in llama-cpp-python's create_completion."""
    return model.tokenize(text, add_special=True, parse_special=True)


def chat_prompt(
    model: "LlamaModel", messages: Sequence[Message], *, now: datetime | None = None, tools: Sequence[Tool] = ()
) -> list[int]:
    """The tokens of a conversation in the model's own chat template, ready for the assistant's turn.

    A template that asks for the time is told `now`, by default what this machine's clock shows; one that knows tools
    is told `tools`. Raises TemplateFailed, also for a model without a template that is given more than one user
    message.
    """
    source = model.chat_template
    if source is None:
        return raw_prompt(model, _only_user_text(messages, tools))
    template = Template(source, bos=model.bos, eos=model.eos, now=now)
    values = values_of(source, messages, tools)
    rendered = _render(template, values)
    if not _holds_special(model, "\n".join(texts(values))):
        text = _without_bos(model, rendered)
        return model.tokenize(text, add_special=True, parse_special=True)
    return _guarded_tokens(model, template, values)


def _only_user_text(messages: Sequence[Message], tools: Sequence[Tool]) -> str:
    if len(messages) != 1 or messages[0].role != "user" or tools:
        message = "the model has no chat template, so it takes one user message and nothing else"
        raise TemplateFailed(message, hint="put everything into one prompt and use --raw")
    return messages[0].content


def _render(template: Template, values: Values) -> str:
    return template.render(values["messages"], tools=values["tools"])


def _without_bos(model: "LlamaModel", text: str) -> str:
    """`text` without the BOS its template wrote, where tokenizing adds one anyway."""
    return text.removeprefix(model.bos) if model.add_bos and model.bos else text


def _holds_special(model: "LlamaModel", text: str) -> bool:
    special = model.tokenize(text, add_special=False, parse_special=True)
    return special != model.tokenize(text, add_special=False, parse_special=False)


def _guarded_tokens(model: "LlamaModel", template: Template, values: Values) -> list[int]:
    if _holds_special(model, "\n".join(fixed_texts(values))):
        raise TemplateFailed("a name or key in a tool or a call holds special tokens, so it cannot be kept apart")
    marked = _render(template, _marked(model, template.source, values))
    opening, closing = _free_marks(template.source, values)
    if marked.replace(opening, "").replace(closing, "") != _render(template, values):
        raise TemplateFailed("the chat template changes text that holds special tokens, so it cannot be kept apart")
    tokens: list[int] = []
    for n, (text, from_person) in enumerate(_spans(_without_bos(model, marked), opening, closing)):
        tokens += model.tokenize(text, add_special=n == 0, parse_special=not from_person)
    return tokens


def _marked(model: "LlamaModel", source: str, values: Values) -> Values:
    """With marks around every message, and around the texts inside of tools and calls that need them: templates look
    at the others, such as the types in a schema."""
    opening, closing = _free_marks(source, values)

    def mark(text: str) -> str:
        return _mark(text, opening, closing)

    return changed(values, mark, lambda text: mark(text) if _holds_special(model, text) else text)


def _free_marks(source: str, values: Values) -> tuple[str, str]:
    """Two characters that neither the template nor any message holds."""
    taken = set(source).union(*texts(values))
    free = [chr(code) for code in PRIVATE_USE if chr(code) not in taken][:2]
    if len(free) < 2:
        raise TemplateFailed("the messages hold special tokens and every character that could set them apart")
    return free[0], free[1]


def _mark(text: str, opening: str, closing: str) -> str:
    """`text` between marks; templates trim the space around it, which stays outside."""
    core = text.strip()
    if not core:
        return text
    before, after = text.split(core, 1)
    return before + opening + core + closing + after


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
