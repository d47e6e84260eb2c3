"""Copying models from one store into another, by hash."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import Unreachable
from ..manifest import FileEntry
from ..model import Model
from ..progress import Progress, silent
from ..put import Examined
from ..ref import Ref
from ..store import Store
from .bring import Brought, Terms, bring
from .outgoing import chosen, supply


@dataclass(frozen=True, slots=True)
class Plan:
    """What a mirror would do: the models that the other store lacks, of how many, and the bytes that would travel."""

    lacking: tuple[Model, ...]
    models: int
    bytes_lacking: int


def plan(source: Store, target: Store, refs: Iterable[Ref] | None) -> Plan:
    """What `mirror` would bring, as far as the journals tell."""
    models = _models(source, refs)
    target.sync()
    lacking = [model for model in models if not target.catalog.holds(model.digest)]
    live = target.catalog.live()
    blobs = {file.digest: file.size for model in lacking for file in model.manifest.files if file.digest not in live}
    return Plan(tuple(lacking), len(models), sum(blobs.values()))


def mirror(
    source: Store,
    target: Store,
    refs: Iterable[Ref] | None = None,
    *,
    move_names: bool = False,
    progress: Progress = silent,
) -> Brought:
    """Copy models, all of them or those that refs mean, and what is said of them, into a store that lacks them.

    Bytes are read ahead, checked block by block and as a whole, and never kept on this machine. A model whose bytes are
    wrong in `source` is left out, and told.
    """
    models = _models(source, refs)

    def supplied(entry: FileEntry) -> Examined:
        return supply(source, entry)

    return bring(target, models, supplied, terms=Terms(move_names=move_names), progress=progress)


def _models(source: Store, refs: Iterable[Ref] | None) -> list[Model]:
    if source.offline:
        raise Unreachable(f"cannot mirror {source.url} offline", hint="leave out --offline, or LLSTORE_OFFLINE")
    return source.models() if refs is None else chosen(source, refs)
