"""Runs a command, and ends it when the installer is gone, however the installer ended.

Usage: python3 supervisor.py PIPE WORD... The installer alone holds the writing end of the descriptor PIPE, so reading
it ends with the installer, also after kill -9. The supervisor leads the process group of the command.
"""

import os
import signal
import subprocess
import sys
import threading
import time

PATIENCE_S = 10  # for a command to end after a signal


def main() -> int:
    pipe, words = int(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _outlive)
    try:
        process = subprocess.Popen(words)
    except OSError as error:
        sys.exit(f"{words[0]}: {error.strerror}")
    installer_gone = threading.Event()
    threading.Thread(target=_end_with, args=(pipe, installer_gone), daemon=True).start()
    code = process.wait()
    if installer_gone.is_set():
        os.killpg(0, signal.SIGKILL)  # what the command left running, and this process
    return code


def _outlive(_number: int, _frame: object) -> None:
    """A signal to the group is meant for the command. A handler, as an ignored signal would be ignored there, too."""


def _end_with(pipe: int, installer_gone: threading.Event) -> None:
    """Interrupts the group when the pipe ends; ninja then removes the objects that it had begun."""
    os.read(pipe, 1)
    installer_gone.set()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        os.killpg(0, number)
        time.sleep(PATIENCE_S)


if __name__ == "__main__":
    sys.exit(main())
