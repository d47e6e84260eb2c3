"""Where calls go in and answers come out: who is let in, and on which engine."""

import asyncio
import secrets
import time
from collections import Counter
from typing import Literal

from ..errors import Draining, InvalidSampling, PromptEmpty, PromptTooLong, QueueFull
from ..tenants.tenant import Tenant
from .accounts import Accounts
from .call import Call
from .ear import LoopEar
from .flow import Flow, requests_of
from .models import Models
from .places import has_room
from .post import Post
from .rules import Live
from .turnover import Turnover
from .warm_up import warm_up

State = Literal["loading", "ready", "draining", "failed"]


class Service:
    """The models, and who uses them. It belongs to the event loop that it is made in."""

    def __init__(self, models: Models, live: Live, accounts: Accounts) -> None:
        self.models = models
        self.live = live
        self.accounts = accounts
        self.draining = False
        loop = asyncio.get_running_loop()
        self._post = Post(loop)
        for model in models.served:
            model.engine.hear_in(LoopEar(loop))
        self._flows: set[Flow] = set()
        self._turnover = Turnover()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def sequences(self) -> int:
        """How many answers are under way or wait."""
        return sum(flow.open for flow in self._flows)

    @property
    def state(self) -> State:
        """What it is about."""
        if self.models.failure:
            return "failed"
        if self.draining:
            return "draining"
        return "ready" if self.models.ready else "loading"

    async def warm_up(self) -> None:
        """Has every model answer a first prompt. Raises what an engine that cannot fails with."""
        await asyncio.gather(*(warm_up(model, self._post) for model in self.models.served))

    def begin(self, call: Call) -> Flow:
        """Takes a call on.

        Raises Draining, PromptEmpty, PromptTooLong, QueueFull, OverLimit. What an engine refuses it for comes as an
        item of the flow.
        """
        for prompt in call.prompts:
            _check_length(len(prompt.tokens), call.model.context)
        self.check_open(call.caller.tenant, len(call.prompts))
        flow = Flow(call, self.accounts.open(call), self._ended)
        self._flows.add(flow)
        self._turnover.began(time.monotonic())
        self._empty.clear()
        flow.start(self._post, requests_of(call, domain=_domain(call)))
        return flow

    def check_open(self, tenant: Tenant, answers: int = 1) -> None:
        """Raises Draining, QueueFull or InvalidSampling if so many answers would be refused, whatever they are to."""
        if self.draining:
            raise Draining(self.live.rules.drain)
        if answers > self._places:
            raise InvalidSampling(f"n is {answers}; this server makes at most {self._places} answers at once")
        taken: Counter[str] = Counter()
        for flow in self._flows:
            taken[flow.call.caller.tenant.name] += flow.open
        if not has_room(taken, tenant.name, answers, places=self._places):
            raise QueueFull(taken.total(), self._turnover.wait(self.live.rules.queue // 2, time.monotonic()))

    def close(self) -> None:
        """Leaves the engines to themselves."""
        for model in self.models.served:
            model.engine.hear_in(None)

    async def drain(self, seconds: float) -> bool:
        """Takes nothing more on; waits until all that was has ended, and says whether it has."""
        self.draining = True
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def cut_off(self) -> None:
        """Ends what is under way: each caller is told."""
        for flow in tuple(self._flows):
            flow.cut_off()

    @property
    def _places(self) -> int:
        return self.live.rules.queue + sum(model.settings.parallel for model in self.models.served)

    def _ended(self, flow: Flow) -> None:
        self._flows.discard(flow)
        self._turnover.ended(time.monotonic(), last=not self._flows)
        if not self._flows:
            self._empty.set()


def _check_length(tokens: int, context: int) -> None:
    if not tokens:
        raise PromptEmpty("the prompt is empty")
    if tokens + 1 > context:
        raise PromptTooLong(tokens, context)


def _domain(call: Call) -> str:
    # A domain that nobody else is in: nothing is found there.
    tenant = call.caller.tenant.name
    return f"{tenant}/{secrets.token_hex(8)}" if call.fresh else tenant
