"""`llstore rm`, `gc` and `df`: how models and bytes leave a store, and what is in it."""

from typing import Annotated

import typer

from ..store import parse_ref
from ..store.curate import remove
from ..store.gc.collector import Collected, Collector
from ..store.gc.mark import Candidate
from ..store.sizes import human_size
from ..store.usage import usage
from .age import parse_age
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, printable, progress, remark

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")]


def rm(
    refs: Annotated[list[str], typer.Argument(metavar="REF…", help="Digests, prefixes or names.")],
    force: Annotated[bool, typer.Option("--force", help="Also a model that has other names than those given.")] = False,
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take models out of the store, with their names; llstore gc frees their bytes later."""
    wanted = [parse_ref(ref) for ref in refs]
    with opened(store, offline=offline, quiet=quiet) as found:
        models = remove(found, wanted, force=force, dry_run=dry_run)
    if json:
        removed = [
            {"digest": str(model.digest), "names": list(model.names), "size": model.manifest.size} for model in models
        ]
        print_json({"dry_run": dry_run, "removed": removed})
        return
    for model in models:
        print(printable("  ".join([str(model.digest), human_size(model.manifest.size), *model.names])))
    done = "would be removed" if dry_run else "removed; llstore gc frees their bytes after a day"
    remark(f"{len(models)} {done}", quiet=quiet)


def gc(
    grace: Annotated[str, typer.Option(metavar="AGE", help="Spare what was written in so long a time.")] = "24h",
    dry_run: DryRunOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete from the bucket what no model needs: of removed models, and of puts that never ended."""
    seconds = parse_age(grace, "--grace")
    with opened(store, offline=offline, quiet=quiet) as found, progress(quiet=quiet or json) as shown:
        found.require_writable("collect in")
        collector = Collector(found.bucket, found.catalog, shown)
        done = collector.plan(grace=seconds) if dry_run else collector.collect(grace=seconds)
        found.warnings += collector.remarks
    if json:
        print_json(_document(done, dry_run=dry_run))
        return
    for candidate in done.deleted:
        print(f"{human_size(candidate.size):>9}  {candidate.key}")
    remark(f"{'would free' if dry_run else 'freed'} {human_size(done.freed)}", quiet=quiet)
    if done.held:
        held = sum(candidate.size for candidate in done.held)
        remark(f"{human_size(held)} are kept for puts that have not ended, for at most 7 days", quiet=quiet)
    if done.left:
        remark(f"{done.left} objects were not reached in time: run it again", quiet=quiet)


def df(
    bucket: Annotated[bool, typer.Option("--bucket", help="List the bucket too, for what no model needs.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what the store's models take, and how much of it is on this machine."""
    with opened(store, offline=offline, quiet=quiet) as found:
        facts = usage(found, bucket=bucket)
    document = {
        "url": found.url,
        "models": facts.models,
        "files": facts.files,
        "bytes": facts.bytes,
        "shared_bytes": facts.shared_bytes,
        "cached_bytes": facts.cached_bytes,
        "unreferenced_bytes": facts.unreferenced_bytes,
    }
    if json:
        print_json(document)
        return
    for name, value in document.items():
        if value is not None:
            shown = human_size(value) if isinstance(value, int) and name.endswith("bytes") else str(value)
            print(f"{name.replace('_', ' ') + ':':20}{printable(shown)}")


def _document(done: Collected, *, dry_run: bool) -> dict[str, object]:
    def rows(candidates: tuple[Candidate, ...]) -> list[dict[str, object]]:
        return [{"key": candidate.key, "size": candidate.size} for candidate in candidates]

    return {
        "dry_run": dry_run,
        "deleted": rows(done.deleted),
        "held": rows(done.held),
        "freed_bytes": done.freed,
        "left": done.left,
    }
