"""`llstore sync`."""

import time
from typing import Annotated

import typer

from ..store import Store
from ..store.errors import LockBroken, NotFound
from ..store.lock import FILE, Lockfile, load
from . import settings
from .options import JsonOption, OfflineOption, ProfileOption, QuietOption, StoreOption
from .output import opened, print_json, progress, remark


def sync(
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Use llstore.lock as it is; exit code 8 when llstore.toml disagrees.")
    ] = False,
    profile: ProfileOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the cache hold what llstore.lock says, verified, and print each model's name and path."""
    from ..store.lock.sync import bring

    project, began = settings.project(), time.monotonic()
    with opened(store, offline=offline, quiet=quiet) as found, progress(quiet=quiet or json) as shown:
        lock = _frozen(project) if frozen else _renewed(found, project, quiet=quiet)
        models = bring(found, lock.of_profiles(profile or ()), shown)
    if not json:
        for model in models:
            print(f"{model.locked.name}\t{model.path}")
        return
    documents = [
        {
            "name": model.locked.name,
            "digest": str(model.locked.digest),
            "path": str(model.path),
            "files": [
                {
                    "role": file.entry.role,
                    "digest": str(file.entry.digest),
                    "path": str(file.path),
                    "size": file.entry.size,
                }
                for file in model.files
            ],
            "from_cache": model.fetched_bytes == 0,
        }
        for model in models
    ]
    fetched = sum(model.fetched_bytes for model in models)
    print_json({"models": documents, "fetched_bytes": fetched, "seconds": round(time.monotonic() - began, 3)})


def _frozen(project: settings.Project) -> Lockfile:
    from ..store.lock.agreement import with_project

    lock = load(project.lock)
    if wrong := with_project(lock, project.wanted):
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise LockBroken(f"{wrong[0]}{more}", hint="llstore lock brings them together")
    return lock


def _renewed(store: Store, project: settings.Project, *, quiet: bool) -> Lockfile:
    from ..store.lock.resolve import changes, renew

    try:
        old = load(project.lock)
    except NotFound:
        old = None
    new = renew(store, project.wanted, old, anew=())
    if new != old:
        new.save(project.lock)
        for change in changes(old, new):
            remark(f"{FILE}: {change}", quiet=quiet)
    return new
