"""A command whose output goes to a log, while a line now and then says how far it is."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from failures import InstallError, cause_in, full_disk

EVERY_S = 20  # between two lines of progress
_LOOK_S = 0.1
_SUPERVISOR = Path(__file__).with_name("supervisor.py")


@dataclass(frozen=True, slots=True)
class Command:
    """What is run, and what a failure of it is called: "llama.cpp was not compiled".

    `stdin` is the descriptor that all its processes inherit as their standard input.
    """

    words: Sequence[str | Path]
    failure: str
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path | None = None
    stdin: int = subprocess.DEVNULL


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
        with _supervised(command, output) as process:
            code = _watch(process, progress, every_s)
    if code != 0:
        raise _error(command, log, start)


@contextlib.contextmanager
def _supervised(command: Command, output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The command under way. Its processes end with this block, and with this process."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", _SUPERVISOR, str(reading), *command.words],
        stdin=command.stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=command.environment,
        cwd=command.folder,
        start_new_session=True,
        pass_fds=(reading,),
    )
    os.close(reading)
    try:
        yield process
    finally:
        os.close(writing)
        if process.wait() < 0:  # a supervisor that was killed itself leaves its group behind
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _watch(process: subprocess.Popen[bytes], progress: Callable[[int], str], every_s: float) -> int:
    began = last = time.monotonic()
    while (code := process.poll()) is None:
        time.sleep(_LOOK_S)
        now = time.monotonic()
        if now - last >= every_s:
            say(progress(round(now - began)))
            last = now
    return code


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
