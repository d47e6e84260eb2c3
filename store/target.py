"""`get -o`: a model's files under a name of the person's choosing, each written whole or not at all.

A model of one file becomes a file, a model of several a folder: the manifest keeps no file names, so they are made of
the folder's name and what each file is for, shards as llama.cpp expects them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .cache import Cache
from .disk import PartFile, disk_errors, kept
from .errors import DiskError
from .get import CachedFile, GetResult
from .manifest import FileEntry, Manifest, Role

_ENDINGS = {Role.TEMPLATE: ".jinja", Role.LICENSE: ".txt", Role.PROGRAM: ".wasm", Role.OTHER: ""}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file shall go: as a hard link or a copy, replacing what stands there only with `force`."""

    path: Path
    link: bool = False
    force: bool = False


def check(target: Target) -> None:
    """Refuse a file that cannot be written; raises FileKept or DiskError."""
    if target.path.is_dir():
        raise DiskError(f"{target.path} is a folder", hint="name the file in it")
    if target.path.exists() and not target.path.is_file():
        # Renaming over a device or a pipe would remove it.
        raise DiskError(f"{target.path} is not a regular file", hint="name a new file")
    if not target.path.parent.is_dir():
        raise DiskError(f"no folder {target.path.parent}", hint=f"create it first: mkdir -p {target.path.parent}")
    if target.path.exists() and not target.force:
        raise kept(target.path)


def check_model(target: Target, manifest: Manifest) -> None:
    """Refuse what cannot be written of a model before anything is fetched; raises FileKept or DiskError."""
    if len(manifest.files) == 1:
        check(target)
        return
    if target.path.exists() and not target.path.is_dir():
        raise DiskError(f"{target.path} is a file, and {manifest.model.short} has several", hint="name a folder")
    if not target.path.is_dir():
        check(target)
        return
    for _, path in _places(target, manifest):
        check(replace(target, path=path))


def write(target: Target, result: GetResult, *, cache: Cache) -> Path:
    """Put the model there; returns where its main file is. A copy shares its bytes where the file system can."""
    files = {file.entry: file for file in result.files}
    places = dict(_places(target, result.manifest))
    if len(places) > 1:
        with disk_errors(target.path):
            target.path.mkdir(exist_ok=True)
    for entry, path in places.items():
        _write_file(replace(target, path=path), files[entry], cache=cache)
    return places[result.manifest.main]


def _write_file(target: Target, file: CachedFile, *, cache: Cache) -> None:
    if target.link:
        cache.link(file.entry.digest, target.path, replace=target.force)
        return
    with PartFile.beside(target.path.parent) as part:
        part.clone(file.path)
        part.commit(target.path, replace=target.force)


def _places(target: Target, manifest: Manifest) -> Iterator[tuple[FileEntry, Path]]:
    if len(manifest.files) == 1:
        yield manifest.files[0], target.path
        return
    counts, seen = Counter(file.role for file in manifest.files), Counter[Role]()
    for file in manifest.files:
        seen[file.role] += 1
        yield file, target.path / _name(target.path.name, file.role, seen[file.role], counts[file.role])


def _name(stem: str, role: Role, number: int, count: int) -> str:
    if role is Role.SHARD:
        return f"{stem}-{number:05d}-of-{count:05d}.gguf"
    ending = _ENDINGS.get(role, ".gguf")
    if role is Role.WEIGHTS:
        return stem + ending
    return f"{stem}-{role}{f'-{number}' if count > 1 else ''}{ending}"
