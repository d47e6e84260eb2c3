"""How a process that runs llama.cpp ends: with its parent, and without a core file or a debugger."""

import fcntl
import os
import resource
import signal
import threading
from contextlib import suppress


def tie(lifeline: int) -> None:
    """When the other end of this pipe is closed, which is when the parent is gone, this process ends."""
    threading.Thread(target=_end_after, args=(lifeline,), daemon=True).start()
    if hasattr(fcntl, "F_SETSIG"):
        # The thread cannot run while a call into C holds the GIL; the kernel can.
        with suppress(OSError):
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _end_after(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


def die_quietly() -> None:
    """A crash of this process leaves no core of many gigabytes, and starts no debugger."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    os.environ["GGML_NO_BACKTRACE"] = "1"
