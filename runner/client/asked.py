"""What a client asks for, as requests that are ready to be sent: no clock and no I/O."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from ..errors import InvalidCall

JsonValue = str | int | float | bool | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
Messages = Sequence[Mapping[str, JsonValue]]


class InferSettings(TypedDict, total=False):
    """What may be said beside a prompt, all of it by keyword; None is as if it were not said.

    `max_tokens`, `temperature`, `top_p`, `top_k`, `seed` and `stop` are as in docs/runner.md. `settings` holds any
    other key of the API. `receipt` asks for what the answer can be replayed with.
    """

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    seed: int | None
    stop: str | Sequence[str] | None
    settings: Mapping[str, JsonValue]
    receipt: bool


class ChatSettings(InferSettings, total=False):
    """What may be said beside messages: the last three are OpenAI's."""

    tools: Sequence[Mapping[str, JsonValue]] | None
    tool_choice: str | Mapping[str, JsonValue] | None
    response_format: Mapping[str, JsonValue] | None


# What the client says itself. Of several answers it would show one.
_OURS = frozenset({"model", "prompt", "messages", "stream", "stream_options", "n", "best_of", "echo"})


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request: a GET, or a POST of JSON; `chat` says which shape of answer it gets."""

    path: str
    body: bytes | None = None
    stream: bool = False
    chat: bool = False

    @property
    def method(self) -> str:
        """GET without a body, else POST."""
        return "GET" if self.body is None else "POST"


def completion(prompt: str, given: InferSettings, *, model: str | None, stream: bool = False) -> Call:
    """What continues a prompt as it stands. Raises InvalidCall, and TypeError for a keyword that is none."""
    if not isinstance(prompt, str):
        raise InvalidCall(f"the prompt is {type(prompt).__name__}, not a text", hint="chat() takes messages")
    said = _said(given, InferSettings)
    return Call("/v1/completions", _body({"prompt": prompt}, said, model=model, stream=stream), stream=stream)


def conversation(messages: Messages, given: ChatSettings, *, model: str | None, stream: bool = False) -> Call:
    """What answers messages. Raises InvalidCall, and TypeError for a keyword that is none."""
    if isinstance(messages, str | bytes | Mapping) or not all(isinstance(message, Mapping) for message in messages):
        hint = 'such as [{"role": "user", "content": "Hello"}]'
        raise InvalidCall("messages must be a list of objects with a role and a content", hint=hint)
    body = _body({"messages": list(messages)}, _said(given, ChatSettings), model=model, stream=stream)
    return Call("/v1/chat/completions", body, stream=stream, chat=True)


def streamed(prompt: str | Messages, given: ChatSettings, *, model: str | None) -> Call:
    """The one for a text, the other for messages, with the answer in pieces."""
    if not isinstance(prompt, str):
        return conversation(prompt, given, model=model, stream=True)
    # What only messages have is refused by name.
    return completion(prompt, given, model=model, stream=True)


def tokens_of(text: str, *, add_special: bool) -> Call:
    """What makes tokens of a text."""
    return Call("/tokenize", _encoded({"content": text, "add_special": add_special}))


def text_of(tokens: Sequence[int]) -> Call:
    """What makes a text of tokens."""
    return Call("/detokenize", _encoded({"tokens": list(tokens)}))


MODELS = Call("/v1/models")
READY = Call("/ready")


def _said(given: Mapping[str, Any], words: type) -> dict[str, Any]:
    strange = given.keys() - words.__annotations__.keys()
    if strange:
        known = ", ".join(words.__annotations__)
        raise TypeError(f"no such keyword: {', '.join(sorted(strange))}; there are {known}; others go into settings")
    settings = given.get("settings") or {}
    if not isinstance(settings, Mapping):
        raise InvalidCall(f"settings is {type(settings).__name__}, not an object of names and values")
    named = {name: value for name, value in given.items() if name != "settings" and value is not None}
    # The server need not know that word to leave out what was not asked for.
    if not named.get("receipt", True):
        del named["receipt"]
    for name in settings:
        if name in _OURS or name in named:
            why = "was given twice" if name in named else "is the client's own"
            raise InvalidCall(f"{name} among settings {why}", hint="say it once, by its own keyword")
    return {**named, **settings}


def _body(asked: dict[str, Any], said: dict[str, Any], *, model: str | None, stream: bool) -> bytes:
    named = {"model": model} if model is not None else {}
    streaming = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return _encoded({**named, **asked, **said, **streaming})


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    except UnicodeEncodeError as error:
        raise InvalidCall("a text in the request has half a surrogate pair, which is no character") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidCall(f"the request is no JSON: {error}"[:500]) from error


def _plain(value: object) -> Any:
    # Any mapping and any sequence may be given; the encoder knows dicts, lists and tuples.
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not plain data")
