"""The `llstore` command: its words, and the way out of each."""

import gc
import os
import signal
import sys
from io import TextIOWrapper
from types import FrameType
from typing import Annotated, NoReturn

import typer

from . import (
    batch,
    bench,
    cache,
    check,
    ci,
    demo,
    diff,
    doctor,
    export,
    fsck,
    get,
    import_,
    key,
    list_,
    lock,
    mirror,
    names,
    put,
    replay,
    run,
    serve,
    show,
    space,
    store,
    sync,
    tune,
)
from .failure import INTERRUPTED, USAGE, report

app = typer.Typer(
    name="llstore",
    help="Pin, ship and run models by their SHA-256.",
    epilog="REF is a digest, a digest prefix of 8 or more hex digits, org/name[:tag] or name@sha256:…",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("put")(put.put)
app.command("get")(get.get)
app.command("list")(list_.list_models)
app.command("show")(show.show)
app.command("diff")(diff.diff)
app.command("run")(run.run)
app.command("batch")(batch.batch)
app.command("serve")(serve.serve)
app.command("tune")(tune.tune)
app.command("lock")(lock.lock)
app.command("sync")(sync.sync)
app.command("replay")(replay.replay)
app.command("bench")(bench.bench)
app.command("tag")(names.tag)
app.command("untag")(names.untag)
app.command("label")(names.label)
app.command("log")(names.log)
app.command("rm")(space.rm)
app.command("gc")(space.gc)
app.command("df")(space.df)
app.command("check")(check.check)
app.command("import")(import_.import_model)
app.command("export")(export.export)
app.command("mirror")(mirror.mirror)
app.command("fsck")(fsck.fsck)
app.command("reindex")(store.reindex)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
app.add_typer(cache.app, name="cache")
app.add_typer(ci.app, name="ci")
app.add_typer(key.app, name="key")
app.add_typer(store.app, name="store")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"llstore {version('llstore')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(USAGE)


def main(interrupt: signal.Signals, terminate: signal.Signals) -> None:
    """Run the command line; never returns. The two signals are those by which this process is asked to end."""
    signal.signal(terminate, _terminate)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its number.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(prog_name="llstore", standalone_mode=False)
        if code == INTERRUPTED:
            # typer turns Ctrl-C into this code, without a word.
            raise KeyboardInterrupt
        sys.stdout.flush()
    except BaseException as error:
        code = report(error, as_json="--json" in sys.argv)
    _leave(code or 0, interrupt)


def _leave(code: int, interrupt: signal.Signals) -> NoReturn:
    # All is said and done: neither Ctrl-C nor an output that takes no more may add to it.
    signal.signal(interrupt, signal.SIG_IGN)
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # Nor is there time to be lost on garbage: all of it goes with the process.
    gc.freeze()
    sys.exit(code)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    # As an exception, so that part files and uploads are tidied up on the way out.
    raise SystemExit(128 + signal.SIGTERM)
