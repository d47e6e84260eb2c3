"""The process that holds an engine: `python -m llstore.runner.engine.child FD`, FD being its end of a socket.

It takes what has come between two steps, sends what a step made, and ends when its parent does.
"""

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..cores import AllCores, Cores, shared_cores
from ..errors import InvalidMessage, RunnerError
from ..notes import notes
from .black_box import BlackBox
from .channel import MAX_UNSENT, Channel
from .codec import plain
from .lifeline import die_quietly, tie
from .protocol import (
    Ask,
    Cancel,
    Counts,
    Failed,
    FromEngine,
    Message,
    Ready,
    Refused,
    Start,
    Stop,
    Submit,
    Updates,
    VocabularyRead,
)
from .request import Request, Update


class Served(Protocol):
    """What a process can hold: an Engine, or a double of one. `threads` is how many the next step may use."""

    threads: int

    def submit(self, id: int, request: Request) -> None: ...
    def cancel(self, id: int) -> None: ...
    def step(self) -> list[Update]: ...
    @property
    def idle(self) -> bool: ...
    @property
    def stats(self) -> Any: ...


Watch = Callable[[Sequence[int]], None]
Say = Callable[[FromEngine], None]
Build = Callable[[Start, Watch, Say], tuple[Served, Ready]]


def main(build: Build, fd: int) -> None:
    """Serves an engine that `build` makes, until it is told to stop or the parent is gone; then the process ends."""
    try:
        _serve(build, fd)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    # Nothing is left to do, and taking a large model down piece by piece would take a while.
    os._exit(0)


def _serve(build: Build, fd: int) -> None:
    _detach()
    channel = Channel(socket.socket(fileno=fd))
    start = _first(channel)
    tie(start.lifeline)
    with BlackBox(start.box) as box:
        notes.into(box)
        try:
            engine, ready = build(start, box.note, channel.send)
        except RunnerError as error:
            channel.send(Failed(error))
            channel.drain()
            return
        channel.send(ready)
        # How many threads compute may change the last bits of what an exact engine says.
        least = start.settings.threads if start.settings.exact else 1
        with shared_cores(Path(start.cores) if start.cores else None, least=least) as cores:
            Service(engine, channel, box, cores).run()


class Service:
    """One engine, its parent, and its part of the machine."""

    def __init__(self, engine: Served, channel: Channel, box: BlackBox, cores: Cores | AllCores) -> None:
        self._engine = engine
        self._channel = channel
        self._box = box
        self._cores = cores
        self._threads = engine.threads

    def run(self) -> None:
        """Until Stop, or the end of the parent."""
        while self._take():
            if self._engine.idle:
                self._box.clear()
                self._cores.rest()
                self._channel.wait()
                continue
            updates = self._step()
            if updates:
                self._channel.send(Updates(tuple(updates)))
            self._channel.drain(to=MAX_UNSENT)

    def _step(self) -> list[Update]:
        self._box.clear()  # to wait for cores is not to be stuck
        with self._cores.taken(self._threads) as threads:
            if threads != self._engine.threads:
                self._engine.threads = threads
            self._box.note(())
            return self._engine.step()

    def _take(self) -> bool:
        """Does what the parent has asked for; False when it wants no more."""
        self._channel.flush()
        messages = self._channel.receive()
        if messages is None:
            return False
        return all(map(self._follow, messages))

    def _follow(self, message: Message) -> bool:
        match message:
            case Submit(id, request):
                self._submit(id, request)
            case Cancel(id):
                self._engine.cancel(id)
            case Ask():
                self._channel.send(Counts(_numbers(self._engine.stats)))
            case Stop():
                return False
        return True

    def _submit(self, id: int, request: Request) -> None:
        # A grammar is compiled here, in C.
        self._box.note((id,))
        try:
            self._engine.submit(id, request)
        except RunnerError as error:
            self._channel.send(Refused(id, error))
        self._box.note(())


def _numbers(stats: Any) -> dict[str, float]:
    facts = plain(stats)
    if not isinstance(facts, dict):
        return {}
    return {name: float(value) for name, value in facts.items() if isinstance(value, int | float)}


def _first(channel: Channel) -> Start:
    """What the parent says first."""
    while True:
        channel.wait()
        messages = channel.receive()
        if messages is None:
            raise InvalidMessage("the parent left before it said anything")
        for message in messages:
            if not isinstance(message, Start):
                raise InvalidMessage(f"the first message is a {type(message).__name__}")
            return message


def _detach() -> None:
    """Signals are the parent's to react to."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    die_quietly()


def load(start: Start, watch: Watch, say: Say) -> tuple[Served, Ready]:
    """The real thing. Imported here: what it imports takes longer than to see that the parent is gone."""
    from ..llama.model import LlamaModel, Loading
    from .engine import Engine

    loading = Loading(**start.loading)  # type: ignore[arg-type]
    model = LlamaModel(start.files, loading, vocabulary_read=lambda: say(VocabularyRead()))
    engine = Engine(model, start.settings, start.limits, watch=watch)
    facts = model.load_seconds, model.vocabulary_size, model.context_length, model.gpu_layers
    return engine, Ready(*facts, engine.company)


if __name__ == "__main__":
    main(load, int(sys.argv[1]))
