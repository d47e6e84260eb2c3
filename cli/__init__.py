"""What a person types. No logic lives here: commands call the store and the runner, and print."""

import gc
import os
import sys

_IN_A_CHILD = {"run", "bench", "tune", "replay", "demo"}  # they call llama.cpp themselves


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
        _replace_what_is_closed()
        interrupt, terminate = signal.SIGINT, signal.SIGTERM
        if _IN_A_CHILD & set(sys.argv[1:2]):
            # Before all else is imported: what a process has in memory, its child copies bit by bit.
            from .own_process import in_a_child

            interrupt, terminate = in_a_child(sys.argv[1:])
        from .main import main as run

        signal.signal(interrupt, before)
        run(interrupt, terminate)
    except KeyboardInterrupt:
        sys.stderr.write("llstore: interrupted\n")
        sys.exit(130)


def _replace_what_is_closed() -> None:
    # Else the next file to be opened is what C libraries take for stderr, and print puts on stdout what is for stderr.
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _leave(*_: object) -> None:
    os.write(2, b"llstore: interrupted\n")
    os._exit(130)
