"""What a person types. No logic lives here: commands call the store and the runner, and print."""

import gc
import os
import sys


def main() -> None:
    """The `llstore` command. Its modules are imported inside, so that Ctrl-C finds no moment that it cannot end."""
    # Nearly all that is made while loading stays: searching it for garbage took a third of the time to start.
    gc.set_threshold(100_000)
    try:
        import signal

        # Where a class is made, Python turns what Ctrl-C raises into another error: while loading it ends us at once.
        before = signal.getsignal(signal.SIGINT)
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, _leave)
        from .main import main as run

        signal.signal(signal.SIGINT, before)
        run()
    except KeyboardInterrupt:
        sys.stderr.write("llstore: interrupted\n")
        sys.exit(130)


def _leave(*_: object) -> None:
    os.write(2, b"llstore: interrupted\n")
    os._exit(130)
