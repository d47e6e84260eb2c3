"""`llstore cache`: what this machine keeps, and for how long."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer

from ..store import Digest, parse_ref
from ..store.cache import Cache
from ..store.cache.eviction import CachedBlob
from ..store.cache.prune import prune
from ..store.layout import PARTIAL
from ..store.sizes import human_size
from ..store.transfer.partial import Partial, partials, remove
from . import settings
from .age import parse_age
from .options import JsonOption, OfflineOption, QuietOption, RefArgument, StoreOption
from .output import opened, print_json, printable, remark

app = typer.Typer(help="What this machine keeps: its size, its pins, its leftovers.", rich_markup_mode=None)


@app.command("list")
def list_blobs(
    store: StoreOption = None, json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False
) -> None:
    """List the cached files, most recently used first."""
    with _cache(store, offline=offline) as cache:
        blobs = sorted(cache.entries(), key=lambda blob: -blob.used_at)
    if json:
        print_json({"blobs": [_document(blob) for blob in blobs]})
        return
    for blob in blobs:
        print(f"{blob.digest.short}  {human_size(blob.size):>9}  {_when(blob.used_at):20}  {_state(blob)}")
    if not blobs:
        remark("nothing is cached; what lies in the embedded store is listed by llstore list", quiet=quiet)


@app.command()
def df(
    store: StoreOption = None, json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False
) -> None:
    """Show what the cache uses, of what, and what it saved."""
    with _cache(store, offline=offline) as cache:
        usage, blobs, counted = cache.usage(), cache.entries(), cache.counters()
    sizes = {
        "used": usage.used,
        "budget": usage.budget,
        "free": usage.free,
        "blobs": usage.blobs,
        "pinned": sum(blob.size for blob in blobs if blob.pinned),
        "in_use": sum(blob.size for blob in blobs if blob.leased),
        "partial": usage.partial,
        "quarantine": usage.quarantine,
    }
    counts = {
        "hits": counted.hits,
        "misses": counted.misses,
        "hit_rate": None if counted.hit_rate is None else round(counted.hit_rate, 4),
        "evictions": counted.evictions,
        "bytes_saved": counted.bytes_saved,
        "bytes_fetched": counted.bytes_fetched,
        "bytes_evicted": counted.bytes_evicted,
    }
    if json:
        print_json({"path": str(cache.root), **sizes, "counters": counts})
        return
    rate = "-" if counted.hit_rate is None else f"{counted.hit_rate:.0%}"
    lines: dict[str, object] = {"path": str(cache.root), **{name: human_size(size) for name, size in sizes.items()}}
    lines |= {"hits": f"{counted.hits} of {counted.hits + counted.misses} ({rate})", "evictions": counted.evictions}
    lines |= {name: human_size(size) for name, size in counts.items() if name.startswith("bytes_") and size is not None}
    for name, value in lines.items():
        print(f"{name.replace('_', ' ') + ':':16}{printable(str(value))}")


@app.command()
def pin(
    ref: RefArgument,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Keep a model in the cache for good."""
    digest, files = _files(ref, store, offline=offline)
    with _cache(store, offline=offline) as cache:
        for file in files:
            cache.pin(file)
        cached = all(map(cache.has, files))
    if json:
        print_json({"digest": str(digest), "pinned": True, "cached": cached})
    else:
        print(digest)
    if not cached:
        remark(f"{digest.short} is not cached yet; it is kept from the next llstore get on", quiet=quiet)


@app.command()
def unpin(
    ref: RefArgument,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Let a model go from the cache when its turn comes."""
    digest, files = _files(ref, store, offline=offline)
    with _cache(store, offline=offline) as cache:
        was_pinned = any([cache.unpin(file) for file in files])
    if json:
        print_json({"digest": str(digest), "pinned": False, "was_pinned": was_pinned})
    else:
        print(digest)
    if not was_pinned:
        remark(f"{digest.short} was not pinned", quiet=quiet)


@app.command("prune")
def prune_cache(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Everything neither pinned nor in use.")] = False,
    quarantine: Annotated[bool, typer.Option("--quarantine", help="Also damaged files that were set aside.")] = False,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Also what was not used for so long: 30d, 12h.")
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Evict down to the budget, and clear away leftovers.

    Leftovers are part files that dead processes left a week ago, and what belonged to files that are gone.
    """
    since = None if older_than is None else time.time() - parse_age(older_than, "--older-than")
    with _cache(store, offline=offline) as cache:
        pruned = prune(cache, unused_since=since, everything=everything, quarantine=quarantine, dry_run=dry_run)
    if json:
        print_json(
            {
                "dry_run": dry_run,
                "evicted": [_document(blob) for blob in pruned.evicted],
                "partials": [_part_document(partial) for partial in pruned.partials],
                "quarantine_bytes": pruned.quarantine,
                "freed_bytes": pruned.freed,
                "over_budget_bytes": pruned.over,
            }
        )
        return
    for blob in pruned.evicted:
        print(f"{blob.digest.short}  {human_size(blob.size):>9}  {_when(blob.used_at)}")
    for partial in pruned.partials:
        print(_part_line(partial))
    remark(f"{'would free' if dry_run else 'freed'} {human_size(pruned.freed)}", quiet=quiet)
    if pruned.over:
        remark(f"still {human_size(pruned.over)} over the budget: llstore cache df shows what holds it", quiet=quiet)


@app.command("partials")
def list_partials(
    remove_dead: Annotated[bool, typer.Option("--remove", help="Remove those that nobody writes any more.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """List what is being written, or was left half-written."""
    found = _partials(store, offline=offline)
    removed = [partial for partial in found if remove_dead and not partial.alive]
    for partial in removed:
        remove(partial)
    if json:
        print_json({"partials": [{**_part_document(part), "removed": part in removed} for part in found]})
        return
    for partial in found:
        print(_part_line(partial) + ("  removed" if partial in removed else ""))
    if removed:
        remark(f"freed {human_size(sum(partial.size for partial in removed))}", quiet=quiet)


@contextmanager
def _cache(store: str | None, *, offline: bool) -> Iterator[Cache]:
    # The cache of all stores but the embedded one, which is its own and is never evicted.
    found = settings.load(store=store, offline=offline)
    with Cache(found.cache, receipts=found.cache / "cache.db", max_bytes=found.cache_max_bytes) as cache:
        yield cache


def _partials(store: str | None, *, offline: bool) -> list[Partial]:
    found = settings.load(store=store, offline=offline)
    return [partial for folder in (found.cache, found.embedded) for partial in partials(folder / PARTIAL)]


def _files(ref: str, store: str | None, *, offline: bool) -> tuple[Digest, list[Digest]]:
    """The model that a ref means, and its files as far as its manifest is here; by default the one of its digest."""
    wanted = parse_ref(ref)
    with opened(store, offline=offline, quiet=True) as found:
        digest = found.resolve(wanted)
        manifest = found.cache.manifest(digest)
    return digest, [file.digest for file in manifest.files] if manifest else [digest]


def _document(blob: CachedBlob) -> dict[str, object]:
    return {
        "digest": str(blob.digest),
        "size": blob.size,
        "used_at": datetime.fromtimestamp(blob.used_at, UTC).isoformat(timespec="seconds"),
        "pinned": blob.pinned,
        "in_use": blob.leased,
        "verified": blob.verified,
    }


def _part_document(partial: Partial) -> dict[str, object]:
    return {
        "path": str(partial.path),
        "digest": str(partial.digest) if partial.digest else None,
        "size": partial.size,
        "age_seconds": round(partial.age_seconds),
        "alive": partial.alive,
    }


def _part_line(partial: Partial) -> str:
    name = partial.digest.short if partial.digest else partial.path.name
    state = "being written" if partial.alive else "left behind"
    age = max(0, round(partial.age_seconds))
    return f"{name:12}  {human_size(partial.size):>9}  written to {age} s ago, {state}"


def _state(blob: CachedBlob) -> str:
    states = (("pinned", blob.pinned), ("in use", blob.leased), ("verified", blob.verified))
    return ", ".join(word for word, applies in states if applies) or "-"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
