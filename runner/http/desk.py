"""What the routes have at hand: the service, threads for what takes long, and what it takes to write receipts."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request as HttpRequest

from ..errors import RunnerError
from ..observe.snapshot import EngineSnapshot, Snapshot
from ..sampling import MAX_SEED, Sampling
from ..serve.call import Call, Caller, Prompt
from ..serve.flow import Flow
from ..serve.model import ServedModel
from ..serve.service import Service
from .teller import Who

_Made = TypeVar("_Made")
PROMPTS = {"prompt", "messages", "input", "instructions"}  # what people wrote, of any request
STATS_SECONDS = 2.0
SHORT = 8192  # characters, which become tokens within a millisecond
THREADS = 2  # templates and tokenizers: more would only take turns at the interpreter


@dataclass(frozen=True, slots=True)
class Desk:
    """One for each server."""

    service: Service
    storage: Callable[[], Snapshot]
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "llstore-prompts"))

    def close(self) -> None:
        """Lets the threads go; one that is at work is not waited for."""
        self.threads.shutdown(wait=False, cancel_futures=True)

    def caller(self, request: HttpRequest) -> Caller:
        """Who asks."""
        caller: Caller = request.scope["state"]["caller"]
        return caller

    def model(self, request: HttpRequest, asked: str | None) -> ServedModel:
        """The model that is asked for. Raises ModelNotServed."""
        return self.service.models.find(asked, self.caller(request).tenant.models)

    def note(self, request: HttpRequest, asked: BaseModel) -> None:
        """Puts what is asked into the request's line of the log, where the rules want it there."""
        if self.service.live.rules.log_prompts:
            request.scope["state"]["prompt"] = asked.model_dump_json(include=PROMPTS, exclude_unset=True)

    async def aside(self, make: Callable[[], _Made]) -> _Made:
        """What `make` makes, in a thread: the event loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, make)

    async def made(self, make: Callable[[], _Made], *, size: int) -> _Made:
        """What `make` makes of so many characters: at once where a thread would take longer to be told of it."""
        return make() if size <= SHORT else await self.aside(make)

    def begin(self, call: Call) -> Flow:
        """Takes a call on; raises what Service.begin raises."""
        return self.service.begin(call)

    async def scrape(self) -> bytes:
        """The metrics, as Prometheus reads them."""
        return await self.aside(self._scrape)

    def who(self, prefix: str, model: ServedModel, asked: str | None) -> Who:
        """The head of an answer; its id begins with `prefix`."""
        return Who(f"{prefix}{secrets.token_hex(12)}", int(time.time()), model, asked)

    def _scrape(self) -> bytes:
        engines = tuple(filter(None, map(_snapshot, self.service.models.served)))
        return self.service.accounts.metrics.scrape(replace(self.storage(), engines=engines))


def _snapshot(model: ServedModel) -> EngineSnapshot | None:
    # One that loads, or is being started again, has no numbers: a scrape does not wait for it.
    try:
        return EngineSnapshot.of(model.identity.label, model.engine.stats(STATS_SECONDS)) if model.engine.pid else None
    except RunnerError:
        return None


def seeded(sampling: Sampling) -> Sampling:
    """With a seed that a receipt can name."""
    return sampling if sampling.seed is not None else replace(sampling, seed=secrets.randbelow(MAX_SEED + 1))


def prompts_of(tokens: Sequence[tuple[int, ...]], samplings: Sequence[Sampling]) -> tuple[Prompt, ...]:
    """Every prompt, with each of the settings."""
    return tuple(Prompt(each, sampling) for each in tokens for sampling in samplings)
