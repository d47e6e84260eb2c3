"""The `llstore` command: its words, and the way out of each."""

import signal
import sys
from io import TextIOWrapper
from types import FrameType
from typing import Annotated

import typer

from . import doctor, get, list_, put, run, show
from .failure import INTERRUPTED, report

app = typer.Typer(
    name="llstore",
    help="Pin, ship and run models by their SHA-256.",
    epilog="REF is a digest, a digest prefix of 8 or more hex digits, org/name[:tag] or name@sha256:…",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("put")(put.put)
app.command("get")(get.get)
app.command("list")(list_.list_models)
app.command("show")(show.show)
app.command("run")(run.run)
app.command("doctor")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"llstore {version('llstore')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; never returns."""
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its number.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            # typer turns Ctrl-C into this code, without a word.
            raise KeyboardInterrupt
        sys.stdout.flush()
    except BaseException as error:
        code = report(error, as_json="--json" in sys.argv)
    sys.exit(code or 0)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    # As an exception, so that part files and uploads are tidied up on the way out.
    raise SystemExit(128 + signal.SIGTERM)
