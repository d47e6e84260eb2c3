"""A server's models, for programs that wait for each answer."""

import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from typing import Self, Unpack

from ...store.closing import Closing
from ..errors import Overloaded, RunnerError, ServerUnreachable
from . import answers, asked
from .asked import Call, ChatSettings, InferSettings, Messages
from .completion import Completion, ServedModel
from .door import Door, Incoming
from .flow import Flow
from .growing import Growing
from .options import DEFAULTS, ClientOptions, address, checked
from .retry import Attempts


class Caller(Closing):
    """Sends requests to the server at `url`, and again where that may help (retry.py)."""

    def __init__(self, url: str, options: ClientOptions, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.options = options
        self.door = Door(url, options)
        self._sleep = sleep

    def close(self) -> None:
        """Close its connections."""
        self.door.close()

    def open(self, call: Call) -> Incoming:
        """See Door: the first answer that is none to try again."""
        attempts = Attempts(self.options)
        while True:
            try:
                return self.door.open(call)
            except RunnerError as error:
                seconds = attempts.after(error, chance=random.random())
            self._sleep(seconds)

    def whole(self, call: Call) -> tuple[answers.Head, bytes]:
        """An answer and its body."""
        with self.open(call) as incoming:
            return incoming.head, incoming.read()


class CompletionStream(Closing, Iterator[str]):
    """The pieces of an answer's text, as they come; the request is sent when the first one is asked for.

    Closing it cancels the request by closing the connection, also from another thread, once the answer has begun.
    After the last piece `result` is the whole Completion; `text` is what there is so far.
    """

    def __init__(self, caller: Caller, call: Call) -> None:
        self._flow = Flow()
        self._pieces = _pieces(caller, call, self._flow)

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Cancels what has not ended."""
        self._flow.stop()
        # Another thread may be waiting for a piece: it was woken, and lets the connection go.
        with suppress(ValueError):
            self._pieces.close()

    @property
    def result(self) -> Completion:
        """The whole answer; raises InvalidCall where it has not come."""
        return self._flow.result

    @property
    def text(self) -> str:
        """What has come so far."""
        return self._flow.text


class InferenceClient(Closing):
    """A `llstore serve`. Threads may share it; closing it closes its connections.

    Every verb raises InvalidCall, ServerUnreachable, ServerRefused or AnswerBroken (runner/errors.py).
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8080, *, options: ClientOptions = DEFAULTS) -> None:
        self._caller = Caller(address(host, port), options)

    @classmethod
    def at(cls, url: str, *, options: ClientOptions = DEFAULTS) -> Self:
        """The one at a URL: https, or behind a path."""
        return cls.over(Caller(checked(url), options))

    @classmethod
    def over(cls, caller: Caller) -> Self:
        """One that calls as `caller` does, which it then owns."""
        client = cls.__new__(cls)
        client._caller = caller
        return client

    def close(self) -> None:
        """Close its connections."""
        self._caller.close()

    def __del__(self) -> None:
        # One that was made for one answer is rarely closed; one whose making failed has nothing to close.
        with suppress(AttributeError):
            self.close()

    def infer(self, prompt: str, **given: Unpack[InferSettings]) -> Completion:
        """What continues a prompt as it stands, without a chat template."""
        return self._completion(asked.completion(prompt, given, model=self._model))

    def chat(self, messages: Messages, **given: Unpack[ChatSettings]) -> Completion:
        """What the model says to a conversation: objects with a role and a content."""
        return self._completion(asked.conversation(messages, given, model=self._model))

    def stream(self, prompt: str | Messages, **given: Unpack[ChatSettings]) -> CompletionStream:
        """What continues a prompt, or answers messages, in pieces."""
        return CompletionStream(self._caller, asked.streamed(prompt, given, model=self._model))

    def models(self) -> tuple[ServedModel, ...]:
        """The models that may be asked for."""
        return answers.models(self._caller.whole(asked.MODELS)[1])

    def tokenize(self, text: str, *, add_special: bool = False) -> tuple[int, ...]:
        """The tokens of a text; with `add_special` those that begin a prompt, too."""
        return answers.tokens(self._caller.whole(asked.tokens_of(text, add_special=add_special))[1])

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return answers.content(self._caller.whole(asked.text_of(tokens))[1])

    def ready(self) -> bool:
        """Whether requests are answered now: not where no server answers, or it says that it is not ready yet."""
        try:
            self._caller.door.open(asked.READY).close()
        except (ServerUnreachable, Overloaded):
            return False
        return True

    @property
    def _model(self) -> str | None:
        return self._caller.options.model

    def _completion(self, call: Call) -> Completion:
        began = time.perf_counter()
        head, data = self._caller.whole(call)
        return answers.completion(head, data, chat=call.chat, latency_ms=(time.perf_counter() - began) * 1000)


def _pieces(caller: Caller, call: Call, flow: Flow) -> Generator[str, None, None]:
    began = time.perf_counter()
    with caller.open(call) as incoming:
        growing = Growing(incoming.head, chat=call.chat, began=began, key=caller.options.key)
        flow.begin(growing, incoming.cut)
        try:
            for data in incoming.pieces():
                yield from growing.feed(data, time.perf_counter())
        except RunnerError:
            if not flow.over:
                raise
    flow.finish()
