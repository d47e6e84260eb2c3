"""What an engine and its process say to each other: frames of JSON, a length of four bytes before each.

To the process: Start first, then Submit, Cancel, Ask, Stop in any order. From it: VocabularyRead, then Ready, or Failed
instead of either; then one Updates a step, which has what that step made for all requests, Refused for a request that
it does not take, and Counts when asked. Nothing but these types comes out of the decoder, whatever went in.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, cast

from .. import errors
from ..engine_settings import EngineSettings
from ..errors import InvalidMessage, RunnerError
from .codec import Json, plain, restored
from .company import Company
from .limits import Limits
from .request import End, Logprob, Request, TokenLogprobs, Update

MAX_FRAME = 64 * 1024 * 1024  # bytes; a prompt of a million tokens takes eight
_LENGTH = struct.Struct("!I")
_json = json.JSONEncoder(separators=(",", ":")).encode
_quoted = json.encoder.encode_basestring_ascii
_END = tuple(field.name for field in fields(End))


@dataclass(frozen=True, slots=True)
class Start:
    """What an engine is made of. Numbers are inherited descriptors: of the model's files in order, of the pipe whose
    other end the parent holds, and of the black box. `loading` has the fields of a Loading, `cores` is the folder in
    which the machine's cores are shared."""

    files: tuple[int, ...]
    settings: EngineSettings
    limits: Limits
    loading: dict[str, str | int | bool | None]
    cores: str | None = None
    lifeline: int = -1
    box: int = -1


@dataclass(frozen=True, slots=True)
class Submit:
    """A request, under the id that updates and cancelling name."""

    id: int
    request: Request


@dataclass(frozen=True, slots=True)
class Cancel:
    """The request is not wanted any more."""

    id: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Send the engine's counts."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Leave, whatever is running."""


@dataclass(frozen=True, slots=True)
class VocabularyRead:
    """llama.cpp has read the model's vocabulary, and goes on with the weights."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded and the engine serves; `company` is of an exact one."""

    load_seconds: float
    vocabulary_size: int
    context_length: int
    gpu_layers: int
    company: Company | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The engine cannot be made."""

    error: RunnerError


@dataclass(frozen=True, slots=True)
class Refused:
    """The engine does not take a request."""

    id: int
    error: RunnerError


@dataclass(frozen=True, slots=True)
class Updates:
    """What one step made."""

    updates: tuple[Update, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """The engine's numbers, by their names."""

    values: dict[str, float]


ToEngine = Start | Submit | Cancel | Ask | Stop
FromEngine = VocabularyRead | Ready | Failed | Refused | Updates | Counts
Message = ToEngine | FromEngine

_KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (Start, Submit, Cancel, Ask, Stop, VocabularyRead, Ready, Counts)
}
# Of the errors that are named here and nowhere else, one comes out.
_ERRORS: dict[str, type[RunnerError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, RunnerError)
}


def encode(message: Message) -> bytes:
    """The frame of a message. Raises InvalidMessage if it is too large."""
    text = _updates(message) if isinstance(message, Updates) else _json([type(message).__name__, _body(message)])
    payload = text.encode()
    if len(payload) > MAX_FRAME:
        raise InvalidMessage(f"a message of {len(payload)} bytes; an engine takes {MAX_FRAME}")
    return _LENGTH.pack(len(payload)) + payload


def decode(payload: bytes) -> Message:
    """The message of a frame, without its length. Raises InvalidMessage."""
    try:
        kind, body = json.loads(payload)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidMessage(f"not a message: {error}") from error
    try:
        return _message(kind, body)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidMessage(f"not a message of kind {kind!r:.40}: {error}") from error


class Frames:
    """Takes bytes as they come, gives the payloads of whole frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """The payloads that `data`, which is copied, completes; to iterate raises InvalidMessage for one too long."""
        self._held += data
        return self._whole()

    def _whole(self) -> Iterator[bytes]:
        start = 0
        while len(self._held) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held, start)
            if length > MAX_FRAME:
                raise InvalidMessage(f"a message of {length} bytes; there are none of more than {MAX_FRAME}")
            end = start + _LENGTH.size + length
            if len(self._held) < end:
                break
            yield bytes(self._held[start + _LENGTH.size : end])
            start = end
        del self._held[:start]


def _body(message: Message) -> Json:
    match message:
        case Refused(id, error):
            return [id, _error_row(error)]
        case Failed(error):
            return _error_row(error)
    return plain(message)


def _message(kind: Any, body: Any) -> Message:
    match kind:
        case "Updates":
            return Updates(tuple(map(_update, body)))
        case "Refused":
            id, error = body
            return Refused(_int(id), _error(error))
        case "Failed":
            return Failed(_error(body))
    return cast(Message, restored(_KINDS[kind], body))


# Updates are most of what is said: rows without names, written and read by hand.


def _updates(message: Updates) -> str:
    return f'["Updates",[{",".join(map(_update_row, message.updates))}]]'


def _update_row(update: Update) -> str:
    head = f"{update.request},{list(update.tokens)},{_quoted(update.text)}"
    if not (update.end or update.logprobs):
        return f"[{head}]"
    end = _end_row(update.end) if update.end else None
    logprobs = [[(t.token, t.logprob) for t in (each.chosen, *each.top)] for each in update.logprobs]
    return f"[{head},{_json(end)},{_json(logprobs)}]"


def _update(row: Any) -> Update:
    request, tokens, text, *rest = row
    if type(request) is not int or type(text) is not str or set(map(type, tokens)) - {int}:
        raise TypeError("a field of an update has the wrong type")
    if not rest:
        return Update(request, tuple(tokens), text)
    end, logprobs = rest
    return Update(request, tuple(tokens), text, tuple(map(_logprobs, logprobs)), None if end is None else _end(end))


def _logprobs(row: Any) -> TokenLogprobs:
    chosen, *top = (Logprob(_int(token), float(logprob)) for token, logprob in row)
    return TokenLogprobs(chosen, tuple(top))


def _end_row(end: End) -> list[Any]:
    return [getattr(end, name) for name in _END]


def _end(row: Any) -> End:
    return cast(End, restored(End, dict(zip(_END, row, strict=True))))


def _error_row(error: RunnerError) -> Json:
    facts = {name: value for name, value in vars(error).items() if isinstance(value, str | int | float | None)}
    return [type(error).__name__, str(error), cast(Json, facts)]


def _error(row: Any) -> RunnerError:
    """An error of the same class with the same message and facts, made without its own way of making messages."""
    kind, message, facts = row
    known = _ERRORS.get(kind, RunnerError)
    error = known.__new__(known, str(message))
    vars(error).update({"hint": "", **{str(name): value for name, value in facts.items()}})
    return error


def _int(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value
