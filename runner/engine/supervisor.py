"""An engine in a process of its own: kept running, asked from any thread."""

import os
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ...store.closing import Closing
from ..engine_settings import EngineSettings
from ..errors import EngineStopped, LoadFailed, RunnerError
from .crash_report import CrashReport
from .dispatch import Dispatch
from .hearing import Ear
from .ledger import Fail, Receive
from .limits import Limits
from .process import Process
from .protocol import Ready, Start
from .remarks import Remarks
from .request import Request
from .restarts import Keeping, Restarts
from .stream import UpdateStream
from .upkeep import Upkeep

if TYPE_CHECKING:
    from ..llama.model import Loading

_USUAL = Limits()
_KEPT = Keeping()


class EngineProcess(Closing):
    """A model, loaded in a child process, that many requests share.

    `files` are opened at once and stay open: what is loaded, also after a crash, are these very files. Requests may be
    submitted while the model is loading. When the process dies it is started again, and the requests go on where
    they were: no token is lost or comes twice. A request that crashed it twice ends with an error; a process that keeps
    crashing is given up, and all that is asked of it fails with EngineCrashed.

    All methods may be called from any thread. `receive` and `fail` of a request are called from one thread (`hear_in`
    says otherwise), and must be quick and raise nothing. Raises LoadFailed for a file that cannot be opened.
    """

    def __init__(
        self,
        files: Sequence[Path],
        settings: EngineSettings,
        *,
        loading: "Loading | None" = None,
        limits: Limits = _USUAL,
        keeping: Keeping = _KEPT,
    ) -> None:
        self._dispatch = Dispatch(Restarts(keeping), Remarks(keeping.say))
        with ExitStack() as held:
            start = Start(
                files=tuple(_opened(file, held) for file in files),
                settings=settings,
                limits=limits,
                loading={field.name: getattr(loading, field.name) for field in fields(loading)} if loading else {},
                cores=str(keeping.cores) if keeping.cores else None,
            )
            self._upkeep = held.enter_context(
                Upkeep(
                    lambda: Process(self._dispatch.informed(start), keeping.program),
                    self._dispatch,
                    stuck=keeping.stuck,
                )
            )
            self._held = held.pop_all()

    def close(self) -> None:
        """Ends the process; requests that have not ended are cancelled."""
        self._dispatch.refuse(EngineStopped("the engine is closed"))
        self._held.close()

    @property
    def pid(self) -> int | None:
        """The process id; None while there is no process."""
        return self._upkeep.pid

    @property
    def crashes(self) -> deque[CrashReport]:
        """How the process ended, each of the latest times."""
        return self._dispatch.crashes

    @property
    def ready(self) -> Ready | None:
        """What is known of the model; None until it was loaded for the first time."""
        return self._dispatch.ready

    @property
    def failure(self) -> RunnerError | None:
        """Why the engine was given up, or that it is closed; None while it is kept running."""
        return self._dispatch.failure

    def wait_ready(self, seconds: float | None = None) -> Ready:
        """Waits until the model is loaded; what is known of it. Raises LoadFailed, EngineCrashed, EngineStopped."""
        return self._dispatch.wait_ready(seconds)

    def wait_vocabulary(self) -> None:
        """Waits until llama.cpp has read the vocabulary there: it may now be read here. Raises as `wait_ready` does."""
        self._dispatch.wait_vocabulary()

    def submit(self, request: Request, receive: Receive, *, fail: Fail | None = None) -> int:
        """Begins a request; returns its id.

        `receive` gets its updates, the last of which has an `end`. `fail` is called instead of a last update with what
        the engine refuses it for (QueueFull, PromptEmpty, PromptTooLong, InvalidSampling), or with EngineCrashed or
        LoadFailed; without `fail`, that becomes an update that ends in an error. Raises what is known at once:
        EngineStopped, EngineCrashed, LoadFailed, InvalidMessage.
        """
        id = self._dispatch.submit(request, receive, fail)
        self._nudge()
        return id

    def cancel(self, id: int) -> None:
        """Ends a request: its last update follows. One that has ended is left alone."""
        self._dispatch.cancel(id)
        self._nudge()

    def stream(self, request: Request) -> UpdateStream:
        """Begins a request; its updates, as they come. Raises as `submit` does, the rest while iterating."""
        stream = UpdateStream()
        id = self.submit(request, stream.put, fail=stream.put)
        return stream.started(lambda: self.cancel(id))

    def hear_in(self, ear: Ear | None) -> None:
        """From now on `receive` is called where `ear` watches for what the process says, but for what this engine says
        itself; None is the engine's own thread again. No thread is woken then for each step."""
        self._upkeep.hear_in(ear)

    def stats(self, seconds: float = 60.0) -> dict[str, float]:
        """The engine's numbers, by name, between two of its steps. Raises EngineCrashed if it does not answer."""
        return self._dispatch.ask(seconds)

    def drain(self, seconds: float) -> bool:
        """Takes no more requests; waits until those that there are have ended, and says whether they have."""
        self._dispatch.refuse(EngineStopped("the engine is about to stop"))
        return self._dispatch.wait_empty(seconds)

    def _nudge(self) -> None:
        if self._dispatch.unsent:
            self._upkeep.wake()


def _opened(file: Path, held: ExitStack) -> int:
    try:
        fd = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise LoadFailed(f"{file}: {error.strerror}") from error
    held.callback(os.close, fd)
    return fd
