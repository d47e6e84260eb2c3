"""`llstore import`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..store import Name, Store
from ..store.progress import Progress
from ..store.sizes import human_size
from . import settings
from .labels import parse_labels
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, progress, remark

if TYPE_CHECKING:
    from ..store.exchange.arriving import Imported, Wishes
    from ..store.exchange.bring import Brought
    from ..store.exchange.hf import HubRef
    from ..store.exchange.ollama import OllamaRef


def import_model(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="hf://org/repo[/file][@rev], ollama:NAME[:TAG] or a bundle's path.")
    ],
    name: Annotated[str | None, typer.Option(help="A name for it: org/name[:tag].")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A label; may be repeated.")] = None,
    link: Annotated[bool, typer.Option("--link", help="ollama: into the local store as the very same file.")] = False,
    force: Annotated[bool, typer.Option("--force", help="A bundle: its names may move names of the store.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring models into the store from Hugging Face, from Ollama, or from a bundle."""
    # Loaded when used: no other command waits for it.
    from ..store.exchange.arriving import Wishes
    from ..store.exchange.unpack import import_bundle

    place = _place(source)
    wishes = Wishes(Name.parse(name) if name is not None else None, parse_labels(label or ()))
    if isinstance(place, Path) and (name is not None or label):
        raise typer.BadParameter("a bundle brings its own names and labels: --name and --label are for one model")
    if link and not source.startswith("ollama:"):
        raise typer.BadParameter("--link is for ollama:NAME")
    if force and not isinstance(place, Path):
        raise typer.BadParameter("--force is for a bundle")
    began = time.monotonic()
    with opened(store, offline=offline, quiet=quiet) as found, progress(quiet=quiet or json) as shown:
        if isinstance(place, Path):
            brought = import_bundle(found, place, move_names=force, progress=shown)
        else:
            imported = _single(found, place, wishes, link=link, shown=shown)
    seconds = round(time.monotonic() - began, 3)
    if isinstance(place, Path):
        _show_bundle(brought, source, seconds=seconds, json=json, quiet=quiet)
    else:
        _show_model(imported, seconds=seconds, json=json, quiet=quiet)


def _place(source: str) -> "HubRef | OllamaRef | Path":
    from ..store.exchange import hf, ollama

    if source.startswith(hf.SCHEME):
        return hf.HubRef.parse(source)
    return ollama.OllamaRef.parse(source) if source.startswith(ollama.SCHEME) else Path(source)


def _single(store: Store, place: "HubRef | OllamaRef", wishes: "Wishes", *, link: bool, shown: Progress) -> "Imported":
    from ..store.exchange import hf, ollama

    if isinstance(place, hf.HubRef):
        return hf.import_hub(store, place, wishes, progress=shown)
    model = ollama.find(place, settings.ollama_folders())
    return ollama.import_ollama(store, model, wishes, link=link, progress=shown)


def _show_model(done: "Imported", *, seconds: float, json: bool, quiet: bool) -> None:
    digest, size = done.manifest.model, done.manifest.size
    if json:
        model = {"digest": str(digest), "size": size, "names": list(done.names), "uploaded_bytes": done.uploaded_bytes}
        print_json(
            {
                "source": done.source,
                "models": [model],
                "downloaded_bytes": done.downloaded_bytes,
                "uploaded_bytes": done.uploaded_bytes,
                "kept_names": [],
                "seconds": seconds,
            }
        )
        return
    print(digest)
    what = f"stored {human_size(size)}" if done.uploaded_bytes else "already stored"
    remark(" ".join([what, "as", *(done.names or [digest.short])]), quiet=quiet)


def _show_bundle(done: "Brought", source: str, *, seconds: float, json: bool, quiet: bool) -> None:
    if json:
        print_json({"source": source, **brought_document(done), "downloaded_bytes": 0, "seconds": seconds})
        return
    for arrival in done.arrivals:
        print(arrival.model.digest)
    show_brought(done, quiet=quiet)


def brought_document(done: "Brought") -> dict[str, object]:
    """What was brought, for `--json`."""
    return {
        "models": [
            {
                "digest": str(arrival.model.digest),
                "size": arrival.model.manifest.size,
                "names": list(arrival.model.names),
                "uploaded_bytes": arrival.uploaded_bytes,
            }
            for arrival in done.arrivals
        ],
        "uploaded_bytes": done.uploaded_bytes,
        "kept_names": [
            {"name": kept.name, "points_to": str(kept.here), "not_to": str(kept.there)} for kept in done.kept_names
        ],
    }


def show_brought(done: "Brought", *, quiet: bool, how: str = "--force") -> None:
    """What was brought, for a person; `how` is the flag that would move names."""
    new = sum(arrival.new for arrival in done.arrivals)
    remark(f"{new} of {models_of(len(done.arrivals))} new, {human_size(done.uploaded_bytes)} stored", quiet=quiet)
    for kept in done.kept_names:
        remark(f"{kept.name} still points to {kept.here.short}, not {kept.there.short} ({how} moves it)", quiet=quiet)


def models_of(count: int) -> str:
    """So many models, in words."""
    return "1 model" if count == 1 else f"{count} models"
