"""A server from its start to its end: what goes on beside the requests, and what signals do."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ...store.errors import StoreError
from ..errors import RunnerError
from ..observe import events
from ..observe.log import LOGGER, EventLog
from ..observe.metrics import Metrics
from ..observe.snapshot import Snapshot
from ..serve.accounts import Accounts
from ..serve.crashes import Watch
from ..serve.keys import Keys
from ..serve.model import ServedModel
from ..serve.models import Models
from ..serve.rules import Live, Rules
from ..serve.service import Service
from ..tenants.limits import Limits
from ..tenants.usage import UsageTally
from .app import application
from .desk import Desk
from .journal import Journal
from .repeat import repeat
from .server import HttpServer

LOOK_SECONDS = 1.0  # between two looks at keys and engines
FLUSH_SECONDS = 5.0  # between two times that usage is written
LAST_SECONDS = 5.0  # for what was answered to reach its readers


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a server is made of. `rules` reads them, again at each SIGHUP; it may raise a StoreError or RunnerError.

    `storage` says how the cache of blobs and the store are, `ready` is called once requests are listened to.
    """

    models: Sequence[ServedModel]
    sockets: list[socket.socket]
    keys: Keys
    log: EventLog
    rules: Callable[[], Rules] = Rules
    storage: Callable[[], Snapshot] = Snapshot
    ready: Callable[[], None] = _nothing


def serve(plan: Plan) -> bool:
    """Serves until SIGTERM or SIGINT, which a second one hastens; whether all that was taken on was finished.

    Raises EngineCrashed or LoadFailed where a model cannot answer a first prompt.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_Host(plan).run())


class _Host:
    """One server at work, in its event loop."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._live = Live(plan.rules())
        self._metrics = Metrics()
        self._usage = UsageTally()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._cut_off = 0  # answers that were not finished
        self._failure: RunnerError | None = None  # why no model can answer

    async def run(self) -> bool:
        """Until it was told to stop."""
        plan = self._plan
        asyncio.get_running_loop().set_exception_handler(_fault)
        service = Service(Models(plan.models), self._live, Accounts(Limits(), self._usage, self._metrics))
        desk = Desk(service, plan.storage)
        journal = Journal(plan.log, self._metrics)
        app = application(desk, keys=lambda: plan.keys.ring, done=journal.request)
        server = HttpServer(app, self._live, journal)
        self._listen_to_signals()
        watches = [Watch(model, plan.log, self._metrics) for model in plan.models]
        tasks = (
            repeat(lambda: self._look(watches), LOOK_SECONDS),
            repeat(self._flush_aside, FLUSH_SECONDS),
            self._warm_up(service, server),
            self._await_stop(service, server),
        )
        beside = [asyncio.create_task(task) for task in tasks]
        plan.ready()
        try:
            await server.run(plan.sockets)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            desk.close()
            service.close()
            self._flush()
            for watch in watches:
                watch.look()
        plan.log.write(events.Stopped(cut_off=self._cut_off))
        if self._failure:
            raise self._failure
        return not self._cut_off

    async def _warm_up(self, service: Service, server: HttpServer) -> None:
        try:
            await service.warm_up()
        except RunnerError as error:
            # Stopping, engines refuse it as all else.
            if not self._stopping.is_set():
                self._failure = error
                await self._leave(service, server)

    async def _await_stop(self, service: Service, server: HttpServer) -> None:
        await self._stopping.wait()
        seconds = self._live.rules.drain
        self._plan.log.write(events.Draining(requests=service.sequences, seconds=seconds))
        drained = asyncio.create_task(service.drain(seconds))
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait((drained, hurry), return_when=asyncio.FIRST_COMPLETED)
        if not (drained.done() and drained.result()):
            # What hastened this end leaves time to tell everybody of it; the next one does not.
            self._hurry.clear()
        await self._leave(service, server)

    async def _leave(self, service: Service, server: HttpServer) -> None:
        """Cuts off what is under way, tells everybody, and goes."""
        self._cut_off = service.sequences
        service.cut_off()
        server.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), LAST_SECONDS)
        server.abort()

    async def _look(self, watches: Sequence[Watch]) -> None:
        for watch in watches:
            watch.look()
        await asyncio.to_thread(self._plan.keys.look)

    async def _flush_aside(self) -> None:
        await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        self._plan.keys.add_usage(self._usage)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reread)

    def _reread(self) -> None:
        try:
            self._live.rules = self._plan.rules()
        except (RunnerError, StoreError) as error:
            self._plan.log.write(events.Reloaded(file="settings", error=str(error)))
        else:
            self._plan.log.write(events.Reloaded(file="settings"))

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()


def _fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    logging.getLogger(LOGGER).error("in the event loop: %s", context["message"], exc_info=context.get("exception"))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop

    return uvloop.new_event_loop
