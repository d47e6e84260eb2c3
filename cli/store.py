"""`llstore store …`: what concerns the bucket itself."""

from contextlib import ExitStack, closing
from dataclasses import asdict
from datetime import UTC, datetime

import typer

from ..store import Store, ulid
from ..store.backends import open_backend
from ..store.errors import Unreachable
from ..store.probe import Finding, nowhere
from ..store.probe import probe as probe_backend
from ..store.sync import write_snapshot
from .failure import FAILED
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, printable

app = typer.Typer(help="Look into the store's bucket.", rich_markup_mode=None)
_SHOWN = {True: "yes", False: "NO", None: "-"}


@app.callback()
def _words() -> None:
    """Look into the store's bucket."""


@app.command("probe")
def probe(
    store: StoreOption = None, json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False
) -> None:
    """Try what the bucket honours, under keys that are removed again; exit code 1 if it breaks what llstore needs."""
    with opened(store, offline=offline, quiet=quiet) as found:
        url, findings = _probed(found)
    if json:
        print_json({"url": url, "findings": [asdict(finding) for finding in findings]})
    else:
        _print_table(findings)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(FAILED)


@app.command("snapshot")
def snapshot(
    store: StoreOption = None, json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False
) -> None:
    """Write the journal's entries of more than a day into one object: what a mirror is listed by."""
    with opened(store, offline=offline, quiet=quiet) as found:
        found.require_writable("write a snapshot into")
        made = write_snapshot(found.bucket, found.catalog)
    until = datetime.fromtimestamp(ulid.seconds(made.until), UTC).isoformat(timespec="seconds")
    if json:
        print_json({"until": until, "entries": made.entries})
    else:
        print(f"{made.entries} entries before {until}")


def reindex(
    store: StoreOption = None, json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False
) -> None:
    """Make this machine's catalog of the store anew, from its whole journal."""
    with opened(store, offline=offline, quiet=quiet) as found:
        entries = found.reindex()
        models = len(found.catalog.models())
    if json:
        print_json({"entries": entries, "models": models})
    else:
        print(f"{entries} entries, {models} models")


def _probed(found: Store) -> tuple[str, tuple[Finding, ...]]:
    if found.offline:
        raise Unreachable("cannot probe a store offline", hint="leave out --offline, or LLSTORE_OFFLINE")
    # First, so that what is wrong with its URL is said of the URL that was given.
    source, other = found.source, nowhere(found.url)
    with ExitStack() as stack:
        elsewhere = stack.enter_context(closing(open_backend(other))) if other else None
        # Not the bucket: one that refuses a missing key cannot be opened, and saying so is the probe's work.
        return found.url, probe_backend(source, elsewhere=elsewhere)


def _print_table(findings: tuple[Finding, ...]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{finding.name.ljust(width)}  {_SHOWN[finding.ok].ljust(3)}  {printable(finding.detail)}")
