"""`get -o`: a model's file under a name of the person's choosing, written whole or not at all."""

from dataclasses import dataclass
from pathlib import Path

from .cache import Cache
from .disk import PartFile, kept
from .errors import DiskError
from .get import GetResult


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file shall go: as a hard link or a copy, replacing what stands there only with `force`."""

    path: Path
    link: bool = False
    force: bool = False


def check(target: Target) -> None:
    """Refuse what cannot be written before anything is fetched; raises FileKept or DiskError."""
    if target.path.is_dir():
        raise DiskError(f"{target.path} is a folder", hint="name the file in it")
    if target.path.exists() and not target.path.is_file():
        # Renaming over a device or a pipe would remove it.
        raise DiskError(f"{target.path} is not a regular file", hint="name a new file")
    if not target.path.parent.is_dir():
        raise DiskError(f"no folder {target.path.parent}", hint=f"create it first: mkdir -p {target.path.parent}")
    if target.path.exists() and not target.force:
        raise kept(target.path)


def write(target: Target, result: GetResult, *, cache: Cache) -> Path:
    """Put the model's main file there. A copy shares its bytes with the cache where the file system can."""
    if target.link:
        cache.link(result.manifest.main.digest, target.path, replace=target.force)
        return target.path
    with PartFile.beside(target.path.parent) as part:
        part.clone(result.path)
        part.commit(target.path, replace=target.force)
    return target.path
