"""The answers to one call on their way: what the engine says, brought to the task that sends it on."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ..engine.request import Request, Update
from ..errors import RunnerError
from .account import Account
from .call import Call, Prompt
from .post import Mailbox, Post

Item = tuple[int, Update | RunnerError]


class Flow:
    """Each of a call's prompts has its number, from 0. All methods are called in the event loop.

    `over` is called when the last answer has ended, also of a flow that was closed before.
    """

    def __init__(self, call: Call, account: Account, over: Callable[["Flow"], None]) -> None:
        self.call = call
        self.account = account
        self.open = len(call.prompts)
        self._over = over
        self._ids: dict[int, int] = {}
        self._box: Mailbox[Item] = Mailbox()
        self._closed = False
        # Who takes updates at once, those without an end: True if it did. No task has to be woken then for a token.
        self.direct: Callable[[int, Update], bool] | None = None
        self._settled = asyncio.Event()

    def start(self, post: Post, requests: list[Request]) -> None:
        """Submits what is asked. What the engine refuses it for comes as an item, like all else."""
        engine = self.call.model.engine
        for number, request in enumerate(requests):
            receive = partial(post.put, partial(self._arrived, number))
            try:
                self._ids[number] = engine.submit(request, receive, fail=receive)
            except RunnerError as error:
                receive(error)

    async def take(self) -> list[Item]:
        """What has come since; none when the flow was closed, or somebody calls `wake`."""
        return await self._box.take()

    def wake(self) -> None:
        """Whoever takes waits no longer."""
        self._box.wake()

    def close(self) -> None:
        """The rest is not wanted: what has not ended is cancelled."""
        if self._closed:
            return
        self._closed = True
        self._box.close()
        self.cut_off()

    async def settle(self, seconds: float) -> None:
        """Waits until all answers have ended, so long at most: what is cancelled ends with the engine's next step."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), seconds)

    def cut_off(self) -> None:
        """Ends what has not ended; that comes as items, which say so."""
        for id in self._ids.values():
            self.call.model.engine.cancel(id)

    @property
    def closed(self) -> bool:
        """Whether nobody wants the rest."""
        return self._closed

    def _arrived(self, number: int, item: Update | RunnerError) -> None:
        self.account.heard(number, item)
        last = isinstance(item, RunnerError) or item.end is not None
        if not self._closed and (last or not self._taken(number, item)):
            self._box.put((number, item))
        if last:
            self.open -= 1
            self._ids.pop(number, None)
            if not self.open:
                self._settled.set()
                self.account.close()
                self._over(self)

    def _taken(self, number: int, item: Update | RunnerError) -> bool:
        return self.direct is not None and isinstance(item, Update) and self.direct(number, item)


def requests_of(call: Call, *, domain: str) -> list[Request]:
    """What the engine is asked for; prompts are reused within `domain`."""
    return [_request(call, prompt, domain) for prompt in call.prompts]


def _request(call: Call, prompt: Prompt, domain: str) -> Request:
    tenant = call.caller.tenant
    return Request(
        prompt.tokens,
        prompt.sampling,
        share=tenant.name,
        weight=tenant.share,
        priority=tenant.priority,
        domain=domain,
        kept=not call.fresh,
    )
