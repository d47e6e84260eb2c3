"""A server's models, for programs that do other things while an answer comes: sync.py, awaited."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Self, Unpack

from ..errors import Overloaded, RunnerError, ServerUnreachable
from . import answers, asked
from .asked import Call, ChatSettings, InferSettings, Messages
from .completion import Completion, ServedModel
from .door import AsyncDoor, AsyncIncoming
from .flow import Flow
from .growing import Growing
from .options import DEFAULTS, ClientOptions, address, checked
from .retry import Attempts


class AsyncClosing:
    """A context manager that awaits `aclose` on the way out."""

    async def aclose(self) -> None:
        """Let go; calling it again does nothing. Here there is nothing to let go of."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class AsyncCaller(AsyncClosing):
    """See Caller."""

    def __init__(
        self, url: str, options: ClientOptions, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.options = options
        self.door = AsyncDoor(url, options)
        self._sleep = sleep

    async def aclose(self) -> None:
        """Close its connections."""
        await self.door.aclose()

    async def open(self, call: Call) -> AsyncIncoming:
        """See Caller."""
        attempts = Attempts(self.options)
        while True:
            try:
                return await self.door.open(call)
            except RunnerError as error:
                seconds = attempts.after(error, chance=random.random())
            await self._sleep(seconds)

    async def whole(self, call: Call) -> tuple[answers.Head, bytes]:
        """See Caller."""
        async with await self.open(call) as incoming:
            return incoming.head, await incoming.read()


class AsyncCompletionStream(AsyncClosing, AsyncIterator[str]):
    """See CompletionStream. Closing it, or cancelling the task that waits for a piece, cancels the request."""

    def __init__(self, caller: AsyncCaller, call: Call) -> None:
        self._flow = Flow()
        self._pieces = _pieces(caller, call, self._flow)

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """Cancels what has not ended."""
        self._flow.stop()
        # Another task may be waiting for a piece: it was woken, and lets the connection go.
        with suppress(RuntimeError):
            await self._pieces.aclose()

    @property
    def result(self) -> Completion:
        """The whole answer; raises InvalidCall where it has not come."""
        return self._flow.result

    @property
    def text(self) -> str:
        """What has come so far."""
        return self._flow.text


class AsyncInferenceClient(AsyncClosing):
    """See InferenceClient: the same verbs, awaited, but for `stream`. Tasks of one event loop may share it."""

    def __init__(self, host: str = "127.0.0.1", port: int = 8080, *, options: ClientOptions = DEFAULTS) -> None:
        self._caller = AsyncCaller(address(host, port), options)

    @classmethod
    def at(cls, url: str, *, options: ClientOptions = DEFAULTS) -> Self:
        """The one at a URL: https, or behind a path."""
        return cls.over(AsyncCaller(checked(url), options))

    @classmethod
    def over(cls, caller: AsyncCaller) -> Self:
        """One that calls as `caller` does, which it then owns."""
        client = cls.__new__(cls)
        client._caller = caller
        return client

    async def aclose(self) -> None:
        """Close its connections."""
        await self._caller.aclose()

    async def infer(self, prompt: str, **given: Unpack[InferSettings]) -> Completion:
        """What continues a prompt as it stands, without a chat template."""
        return await self._completion(asked.completion(prompt, given, model=self._model))

    async def chat(self, messages: Messages, **given: Unpack[ChatSettings]) -> Completion:
        """What the model says to a conversation: objects with a role and a content."""
        return await self._completion(asked.conversation(messages, given, model=self._model))

    def stream(self, prompt: str | Messages, **given: Unpack[ChatSettings]) -> AsyncCompletionStream:
        """What continues a prompt, or answers messages, in pieces; not awaited, but iterated with `async for`."""
        return AsyncCompletionStream(self._caller, asked.streamed(prompt, given, model=self._model))

    async def models(self) -> tuple[ServedModel, ...]:
        """The models that may be asked for."""
        return answers.models((await self._caller.whole(asked.MODELS))[1])

    async def tokenize(self, text: str, *, add_special: bool = False) -> tuple[int, ...]:
        """The tokens of a text; with `add_special` those that begin a prompt, too."""
        return answers.tokens((await self._caller.whole(asked.tokens_of(text, add_special=add_special)))[1])

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return answers.content((await self._caller.whole(asked.text_of(tokens)))[1])

    async def ready(self) -> bool:
        """Whether requests are answered now: not where no server answers, or it says that it is not ready yet."""
        try:
            async with await self._caller.door.open(asked.READY):
                return True
        except (ServerUnreachable, Overloaded):
            return False

    @property
    def _model(self) -> str | None:
        return self._caller.options.model

    async def _completion(self, call: Call) -> Completion:
        began = time.perf_counter()
        head, data = await self._caller.whole(call)
        return answers.completion(head, data, chat=call.chat, latency_ms=(time.perf_counter() - began) * 1000)


async def _pieces(caller: AsyncCaller, call: Call, flow: Flow) -> AsyncGenerator[str, None]:
    began = time.perf_counter()
    async with await caller.open(call) as incoming:
        growing = Growing(incoming.head, chat=call.chat, began=began, key=caller.options.key)
        flow.begin(growing, incoming.cut)
        try:
            async with aclosing(incoming.pieces()) as arriving:
                async for data in arriving:
                    for piece in growing.feed(data, time.perf_counter()):
                        yield piece
        except RunnerError:
            if not flow.over:
                raise
    flow.finish()
