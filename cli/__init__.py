"""What a person types. No logic lives here: commands call the store and the runner, and print."""

import gc
import sys


def main() -> None:
    """The `llstore` command. Its modules are imported inside, so that Ctrl-C finds no moment that it cannot end."""
    # Nearly all that is made while loading stays: searching it for garbage took a third of the time to start.
    gc.set_threshold(100_000)
    try:
        from .main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("llstore: interrupted\n")
        sys.exit(130)
