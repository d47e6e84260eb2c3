"""A command whose output goes to a log, while a line now and then says how far it is."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from failures import InstallError, cause_in, full_disk

EVERY_S = 20  # between two lines of progress
_LOOK_S = 0.1
_PATIENCE_S = 10  # for a command to end after a signal


@dataclass(frozen=True, slots=True)
class Command:
    """What is run, and what a failure of it is called: "llama.cpp was not compiled"."""

    words: Sequence[str | Path]
    failure: str
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path | None = None


def say(line: str) -> None:
    print(line, flush=True)


def run_logged(command: Command, *, log: Path, progress: Callable[[int], str], every_s: float = EVERY_S) -> None:
    """Runs it to its end; `progress` makes a line of the seconds so far. Raises InstallError with the log's cause."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        start = output.tell()
        with contextlib.suppress(OSError):  # a full disk: the command says so, or the disk itself
            output.write(("$ " + " ".join(map(str, command.words)) + "\n").encode())
            output.flush()
        process = subprocess.Popen(
            command.words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=command.environment,
            cwd=command.folder,
            start_new_session=True,  # so that its children end with it
        )
        try:
            code = _watch(process, progress, every_s)
        finally:
            _end(process)
    if code != 0:
        raise _error(command, log, start)


def _watch(process: subprocess.Popen[bytes], progress: Callable[[int], str], every_s: float) -> int:
    began = last = time.monotonic()
    while (code := process.poll()) is None:
        time.sleep(_LOOK_S)
        now = time.monotonic()
        if now - last >= every_s:
            say(progress(round(now - began)))
            last = now
    return code


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupts what still runs; ninja then removes the objects that it had begun. Nothing outlives the command."""
    if process.poll() is not None:
        return
    for end in (signal.SIGINT, signal.SIGTERM):
        os.killpg(process.pid, end)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _error(command: Command, log: Path, start: int) -> InstallError:
    with log.open("rb") as file:
        file.seek(start)
        cause, hint = cause_in(file.read().decode(errors="replace"))
    full = full_disk([log.parent, Path(tempfile.gettempdir())])
    if full and "disk is full" not in cause:
        cause, hint = cause_in("No space left on device")
    if full:
        cause = f"the disk of {full} is full"
    return InstallError(f"{command.failure}: {cause}", hint=hint, log=log)
