"""`llstore lock`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..store import Store
from ..store.errors import InvalidProject, LockBroken, NotFound
from ..store.lock import FILE, Disagreement, Lockfile, Wanted, load
from . import settings
from .failure import LOCK
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, printable, remark


def lock(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Resolve these anew, not all.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check; exit code 8 when the lock does not hold.")
    ] = False,
    current: Annotated[
        bool, typer.Option("--current", help="With --check: also that no name has moved since.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Resolve the [models] of llstore.toml into llstore.lock, or check that it holds."""
    if current and not check:
        raise typer.BadParameter("--current goes with --check")
    if check and names:
        raise typer.BadParameter("--check is for all models: leave out the names")
    project = settings.project()
    with opened(store, offline=offline, quiet=quiet) as found:
        if not check:
            _renew(found, project, names, json=json, quiet=quiet)
            return
        locked = load(project.lock)
        wrong = _check(found, locked, project.wanted, current=current, quiet=quiet)
    if json:
        print_json({"holds": not wrong, "findings": [asdict(one) for one in wrong]})
    for one in () if json else wrong:
        print(printable(str(one)))
    remark(f"{FILE} does not hold" if wrong else f"{FILE} holds: {len(locked.models)} models", quiet=quiet)
    raise typer.Exit(LOCK if wrong else 0)


def _renew(store: Store, project: settings.Project, names: list[str] | None, *, json: bool, quiet: bool) -> None:
    from ..store.lock.resolve import changes, renew

    if unknown := sorted(set(names or ()) - {one.name for one in project.wanted}):
        raise InvalidProject(f"llstore.toml has no model {', '.join(unknown)}", hint="llstore lock resolves all")
    old = _known(project.lock, needed=bool(names), quiet=quiet)
    new = renew(store, project.wanted, old, anew=names or None)
    found = changes(old, new)
    if old != new:
        new.save(project.lock)
    if json:
        lines = [{"name": one.name, "change": one.kind, "from": _text(one.old), "to": _text(one.new)} for one in found]
        print_json({"path": str(project.lock), "models": len(new.models), "changes": lines})
        return
    for one in found:
        print(one)
    if old == new:
        remark(f"{FILE} says so already", quiet=quiet)


def _known(path: Path, *, needed: bool, quiet: bool) -> Lockfile | None:
    try:
        return load(path)
    except NotFound:
        return None
    except LockBroken as error:
        if needed:
            raise
        remark(f"{error}; all of it is made anew", quiet=quiet)
        return None


def _check(store: Store, lock: Lockfile, wanted: Sequence[Wanted], *, current: bool, quiet: bool) -> list[Disagreement]:
    from ..store.lock import agreement, check

    if store.offline:
        what = "what this machine knows of the store" if current else "what is on this machine"
        remark(f"offline: the lock was held against llstore.toml and {what}", quiet=quiet)
    found = agreement.with_project(lock, wanted) + check.in_store(store, lock.models)
    return found + (check.current(store, lock.models) if current else [])


def _text(value: object) -> str | None:
    return None if value is None else str(value)
