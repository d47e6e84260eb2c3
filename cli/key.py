"""`llstore key`: who may use this machine's server, and how much."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ..runner.tenants.tenant import UNCHANGED, Changes, Tenant
from . import settings
from .age import parse_age
from .flags import flags
from .options import JsonOption, QuietOption
from .output import print_json, print_table, remark

if TYPE_CHECKING:
    from ..runner.tenants.key import Issued, Key
    from ..runner.tenants.keyfile import KeyFile

FILE = "keys.db"

app = typer.Typer(help="Keys of this machine's server: who may use it, and how much.", rich_markup_mode=None)

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="A team, a service, a person: team-a.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="A key's id, as llstore key list shows it.")]


def _changes(
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="REF", help="May use this model only; may be repeated.")
    ] = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="May use every model that is served.")] = False,
    rpm: Annotated[int | None, typer.Option("--rpm", metavar="N", help="Requests a minute; 0 is no limit.")] = None,
    tpm: Annotated[int | None, typer.Option("--tpm", metavar="N", help="Tokens a minute; 0 is no limit.")] = None,
    concurrency: Annotated[int | None, typer.Option(metavar="N", help="Requests at once; 0 is no limit.")] = None,
    priority: Annotated[int | None, typer.Option(metavar="N", help="-100 to 100; higher goes first.")] = None,
    share: Annotated[float | None, typer.Option(metavar="X", help="Its weight against others; usually 1.")] = None,
) -> Changes:
    if model and all_models:
        raise typer.BadParameter("--model and --all-models contradict each other")
    models = () if all_models else tuple(dict.fromkeys(model)) if model else None
    return Changes(models, rpm, tpm, concurrency, priority, share)


@app.command()
@flags("changes", _changes)
def create(
    tenant: TenantArgument,
    changes: Changes = UNCHANGED,
    expires: Annotated[str | None, typer.Option(metavar="AGE", help="The key ends after so long: 30d, 12h.")] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="What the key is for.")] = "",
    metrics: Annotated[bool, typer.Option("--metrics", help="A key for /metrics, and for nothing else.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a key, and print it: it is shown this once. A tenant that is new is made too."""
    from ..runner.tenants.key import Terms

    now = time.time()
    ends = None if expires is None else now + parse_age(expires, "--expires")
    with opened() as file:
        issued = file.create(tenant, now=now, terms=Terms(ends, note, metrics), changes=changes)
    _show(issued, {}, json=json, quiet=quiet)


@app.command()
def rotate(
    id: IdArgument,
    grace: Annotated[str, typer.Option(metavar="AGE", help="The old key goes on for so long: 1h.")] = "0",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a key that takes the place of another, and print it: it is shown this once."""
    with opened() as file:
        issued = file.rotate(id, now=time.time(), grace=parse_age(grace, "--grace"))
        old = file.key(id)
    _show(issued, {"replaces": {"id": old.id, "expires_at": _when(old.expires)}}, json=json, quiet=quiet)
    remark(f"the old key, {old.id}, opens nothing from {_when(old.expires)} on", quiet=quiet or json)


@app.command("list")
def list_keys(json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List all keys that were ever made, oldest first. Their secrets are kept nowhere."""
    now = time.time()
    with opened() as file:
        keys = file.keys()
    if json:
        print_json({"keys": [{**_document(key), "state": key.state(now)} for key in keys]})
    elif keys:
        print_table([("ID", "TENANT", "STATE", "EXPIRES", "FOR", "NOTE"), *(_row(key, now) for key in keys)])
    else:
        remark("there are no keys; llstore key create TENANT makes one", quiet=quiet)


@app.command()
def disable(id: IdArgument, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Let a key open nothing any more, for good."""
    with opened() as file:
        changed = file.disable(id)
        key = file.key(id)
    if json:
        print_json({"id": key.id, "tenant": key.tenant, "disabled": True, "was_disabled": not changed})
    else:
        print(key.id)
    if not changed:
        remark(f"{key.id} was disabled before", quiet=quiet or json)


@app.command()
@flags("changes", _changes)
def limits(
    tenant: Annotated[str | None, typer.Argument(metavar="[TENANT]", help="By default all are shown.")] = None,
    changes: Changes = UNCHANGED,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Change what a tenant may use, and show what that is then; a server takes it up by itself."""
    if tenant is None and changes != UNCHANGED:
        raise typer.BadParameter("name the tenant whose limits are to change")
    with opened() as file:
        if tenant is None:
            found = file.tenants()
        else:
            found = [file.tenant(tenant) if changes == UNCHANGED else file.set_tenant(tenant, changes)]
    if json:
        print_json({"tenants": [_limits(each) for each in found]})
    elif found:
        print_table([("TENANT", "RPM", "TPM", "CONCURRENCY", "PRIORITY", "SHARE", "MODELS"), *map(_limits_row, found)])
    else:
        remark("there are no tenants; llstore key create TENANT makes one", quiet=quiet)


@app.command()
def usage(
    tenant: Annotated[str | None, typer.Option(metavar="T", help="Of this tenant only.")] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what was used, by UTC day, tenant and model."""
    with opened() as file:
        rows = file.usage(tenant)
        if tenant is not None and not rows:
            file.tenant(tenant)
    if json:
        print_json({"usage": [asdict(row) for row in rows]})
    elif rows:
        head = ("DAY", "TENANT", "MODEL", "REQUESTS", "PROMPT", "REUSED", "COMPLETION")
        counts = [(row.requests, row.prompt_tokens, row.reused_tokens, row.completion_tokens) for row in rows]
        names = [(row.day, row.tenant, row.model.removeprefix("sha256:")[:12]) for row in rows]
        print_table([head, *((*name, *map(str, count)) for name, count in zip(names, counts, strict=True))])
    else:
        remark("nothing was used yet", quiet=quiet)


@contextmanager
def opened() -> Iterator["KeyFile"]:
    """The keys of this machine."""
    from ..runner.tenants.keyfile import KeyFile

    with KeyFile(settings.data_folder() / FILE) as file:
        yield file


def _show(issued: "Issued", more: dict[str, object], *, json: bool, quiet: bool) -> None:
    if json:
        print_json({"key": issued.text, **_document(issued.key), **more})
        return
    print(issued.text)
    remark(f"this is the only time that key {issued.key.id} of {issued.key.tenant} is shown", quiet=quiet)


def _document(key: "Key") -> dict[str, object]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "created_at": _when(key.created),
        "expires_at": _when(key.expires),
        "metrics": key.metrics,
        "note": key.note,
        "replaced_by": key.replaced_by,
    }


def _row(key: "Key", now: float) -> tuple[str, ...]:
    return (
        key.id,
        key.tenant,
        key.state(now),
        _when(key.expires) or "-",
        "metrics" if key.metrics else "models",
        key.note or "-",
    )


def _limits(tenant: Tenant) -> dict[str, object]:
    found = asdict(tenant)
    return {"tenant": found.pop("name"), **found}


def _limits_row(tenant: Tenant) -> tuple[str, ...]:
    numbers = (tenant.requests_per_minute, tenant.tokens_per_minute, tenant.concurrency)
    limits = ("-" if number is None else str(number) for number in numbers)
    return (tenant.name, *limits, str(tenant.priority), f"{tenant.share:g}", " ".join(tenant.models) or "all")


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
