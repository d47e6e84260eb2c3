"""Importing a model from Hugging Face: `hf://org/repo[/file or pattern][@revision]`."""

import re
import secrets
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..curate import SOURCE
from ..disk import disk_errors, make_folder
from ..errors import AmbiguousSource, Damaged, FileNotThere, InvalidSource, Unreachable, Unsafe
from ..layout import PARTIAL
from ..progress import Progress, silent
from ..store import Store
from ..transfer.partial import leave_file, owner, owner_lives, partials
from .arriving import LICENSE, Imported, Wishes, known, say
from .placed import Placed, Way

if TYPE_CHECKING:
    from .hub import Hub, HubFile, Repo

SCHEME = "hf://"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REPO = re.compile(rf"({_PART}/{_PART})(?:/(.+))?")
_SHARD = re.compile(r"-\d{5}-of-(\d{5})(?=\.gguf$)")
_HOW = "hf://org/repo[/file][@revision]"


@dataclass(frozen=True, slots=True)
class HubRef:
    """A place on the hub: a repository, a file of it or a pattern (None: its only model), a branch, tag or commit."""

    repo: str
    path: str | None = None
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> "HubRef":
        """What `text` means; raises InvalidSource. The revision may stand after the repository, as the hub has it."""
        rest, at, revision = text.removeprefix(SCHEME).rpartition("@")
        if not at:
            rest, revision = revision, "main"
        elif rest.count("/") == 1 and "/" in revision and not revision.startswith("refs/"):
            revision, _, path = revision.partition("/")
            rest = f"{rest}/{path}"
        match = _REPO.fullmatch(rest)
        if not text.startswith(SCHEME) or not match or not text.isprintable() or not _clean(match[2], revision):
            raise InvalidSource(f"not a place on Hugging Face: {text[:200]!r}", hint=_HOW)
        return cls(match[1], match[2], revision)


def import_hub(
    store: Store, place: HubRef, wishes: Wishes, *, endpoint: str | None = None, progress: Progress = silent
) -> Imported:
    """Bring a model from the hub into the store. What the store has already, by its SHA-256, is not downloaded.

    Raises Unreachable, Refused, ModelNotFound, FileNotThere, AmbiguousSource, and Damaged when other bytes came than
    the hub states.
    """
    if store.stays_here:
        raise Unreachable("cannot import from Hugging Face offline", hint="leave out --offline, or LLSTORE_OFFLINE")
    from .hub import Hub

    # Refused before anything is downloaded.
    store.written  # noqa: B018
    hub = Hub(endpoint=endpoint)
    repo = hub.repo(place.repo, place.revision)
    files = choose(repo.files, place)
    source = f"{SCHEME}{repo.id}/{place.path or files[0].path}@{repo.commit}"
    digests = [file.digest for file in files if file.digest]
    model = known(store, digests) if len(digests) == len(files) else None
    if model:
        annotations = _annotations(source, repo, license_known=model.manifest.facts.license is not None)
        return say(store, model, wishes.request(annotations), source=source)
    return _fetched(store, _Order(hub, repo, files, source), wishes, progress)


def choose(files: Sequence["HubFile"], place: HubRef) -> list["HubFile"]:
    """The files of a repository that make the model which is meant; raises FileNotThere, AmbiguousSource or Unsafe."""
    weights = [file for file in files if file.path.lower().endswith(".gguf")]
    if place.path is None:
        chosen = [file for file in weights if not _projects(file.path)]
    elif place.path in {file.path for file in files}:
        chosen = [file for file in weights if _model_of(file.path) == _model_of(place.path)]
        if not chosen:
            raise Unsafe(f"{place.path} in {place.repo} is not a GGUF file", hint="llstore put takes any, with --role")
    else:
        chosen = [file for file in weights if fnmatchcase(file.path, place.path)]
    if not chosen:
        raise _none(weights, place)
    _refuse_several(chosen, place)
    return sorted(chosen, key=lambda file: file.path)


def _refuse_several(chosen: Iterable["HubFile"], place: HubRef) -> None:
    models = defaultdict(list)
    for file in chosen:
        if not _projects(file.path):
            models[_model_of(file.path)].append(file.path)
    if len(models) > 1:
        listed = sorted(min(paths) for paths in models.values())
        raise AmbiguousSource(
            f"{place.repo} holds {len(models)} models: {', '.join(listed[:20])}{' …' if len(listed) > 20 else ''}",
            hint=f"name one: {SCHEME}{place.repo}/{listed[0]}, or a pattern",
        )
    for paths in models.values():
        shard = _SHARD.search(paths[0])
        if shard and len(paths) != int(shard[1]):
            raise FileNotThere(f"{place.repo} has {len(paths)} of the {int(shard[1])} shards of {paths[0]}")


def _none(weights: Iterable["HubFile"], place: HubRef) -> FileNotThere:
    what = place.path or "GGUF file"
    paths = [file.path for file in weights]
    near = get_close_matches(place.path or "", paths, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(paths[:5])}" if paths else ""
    return FileNotThere(f"no {what} in {place.repo}@{place.revision}", hint=hint)


@dataclass(frozen=True, slots=True)
class _Order:
    hub: "Hub"
    repo: "Repo"
    files: Sequence["HubFile"]
    source: str


def _fetched(store: Store, order: _Order, wishes: Wishes, progress: Progress) -> Imported:
    total = sum(file.size for file in order.files)
    with store.cache.room():
        store.cache.make_room(total)
    with _workshop(store.cache.root / PARTIAL, order.files) as folder, ExitStack() as stack:
        sources, done = [], 0
        for file in order.files:
            path = order.hub.download(order.repo, file, folder, _after(done, total, progress))
            done += file.size
            sources.append(Placed(path, expected=file.digest, folder=store.folder, way=Way.GIVE))
            stack.enter_context(sources[-1])
        main = next((source for source in sources if not _projects(source.path.name)), sources[0])
        annotations = _annotations(order.source, order.repo, license_known=bool(main.header().license))
        result = store.put_sources(sources, wishes.request(annotations), progress)
    return Imported.by(result, source=order.source, downloaded=total)


def _after(before: int, everything: int, progress: Progress) -> Progress:
    """The progress of one of several files, as that of all."""

    def tell(step: str, done: int, total: int) -> None:
        progress(step, before + done, everything)

    return tell


def _annotations(source: str, repo: "Repo", *, license_known: bool) -> dict[str, str]:
    said = {LICENSE: repo.license} if repo.license and not license_known else {}
    return {SOURCE: source, **said}


@contextmanager
def _workshop(partial: Path, files: Sequence["HubFile"]) -> Iterator[Path]:
    """A folder for downloads, which is gone afterwards. What came whole is left for another try when this one fails."""
    for left in partial.glob("hub.*"):
        if owner_lives(left.name.split(".")[1]) is False:
            shutil.rmtree(left, ignore_errors=True)
    folder = partial / f"hub.{owner()}.{secrets.token_hex(4)}"
    with disk_errors(folder):
        make_folder(folder)
    try:
        for file in files:
            _take_up(partial, folder / file.path, file)
        yield folder
    except Damaged:
        raise
    except BaseException:
        for file in files:
            if file.digest and (folder / file.path).is_file():
                leave_file(folder / file.path, partial, file.digest)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_up(partial: Path, path: Path, file: "HubFile") -> None:
    # Whether it is right, huggingface_hub finds out by hashing it, and so do we.
    for left in partials(partial):
        if left.digest == file.digest is not None and left.size == file.size and not left.alive:
            with suppress(OSError):
                make_folder(path.parent)
                left.path.rename(path)
                return


def _clean(path: str | None, revision: str) -> bool:
    return all(part not in ("", ".", "..") for part in [*(path or "-").split("/"), *revision.split("/")])


def _model_of(path: str) -> str:
    """What the shards of one model have in common."""
    return _SHARD.sub("-*", path)


def _projects(path: str) -> bool:
    return "mmproj" in PurePosixPath(path).name.lower()
