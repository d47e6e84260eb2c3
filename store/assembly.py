"""Which files make one model: what each is for, and whether they are complete."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from .errors import FileNotThere, Unsafe
from .gguf import GgufHeader
from .manifest import Role

_BASE = (Role.WEIGHTS, Role.SHARD)
# Beside GGUF files, what a folder holds under such a name belongs to the model.
_NAMED = {"license*": Role.LICENSE, "licence*": Role.LICENSE, "*.jinja": Role.TEMPLATE}


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a model to be; `header` is None for one that is not GGUF."""

    path: Path
    role: Role
    header: GgufHeader | None


def expand(paths: Iterable[Path]) -> list[Path]:
    """The files that paths, folders and patterns mean; raises FileNotThere for one that means none."""
    found: dict[Path, None] = {}
    for path in paths:
        found |= dict.fromkeys(_meant(path))
    return list(found)


def named_role(path: Path) -> Role | None:
    """The role that a file's name tells, when it is not GGUF."""
    return next((role for pattern, role in _NAMED.items() if fnmatch(path.name.lower(), pattern)), None)


def check(members: Sequence[Member]) -> None:
    """Refuse what is not one whole model; raises Unsafe."""
    shards = [member for member in members if member.role is Role.SHARD]
    if shards:
        _check_shards(shards)
    weights = [member for member in members if member.role is Role.WEIGHTS]
    if len(weights) > 1 or (weights and shards):
        names = ", ".join(member.path.name for member in [*weights, *shards][:3])
        raise Unsafe(
            f"{names} are weights of {len(weights) + bool(shards)} models",
            hint="put them one by one, or say --role draft=FILE",
        )
    if len(members) > 1 and not weights and not shards:
        raise Unsafe(f"{members[0].path.name} and {len(members) - 1} more are no model: none is weights")


def in_order(members: Iterable[Member]) -> list[Member]:
    """The same, with shards by their number."""
    return sorted(members, key=lambda member: member.header.split.index if member.header and member.header.split else 0)


def weights_of(members: Iterable[Member]) -> list[GgufHeader]:
    """The headers that describe the model: of its weights or shards, or of the only file there is."""
    listed = list(members)
    base = [member.header for member in listed if member.role in _BASE and member.header]
    return base or [member.header for member in listed[:1] if member.header and len(listed) == 1]


def _meant(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(child for child in path.iterdir() if child.is_file() and _belongs(child))
        if not any(child.suffix.lower() == ".gguf" for child in found):
            raise FileNotThere(f"no GGUF file in {path}")
        return found
    if set("*?[") & set(path.name) and not path.exists():
        found = sorted(child for child in path.parent.glob(path.name) if child.is_file())
        if not found:
            raise FileNotThere(f"no file fits {path}")
        return found
    return [path]


def _belongs(path: Path) -> bool:
    return path.suffix.lower() == ".gguf" or named_role(path) is not None


def _check_shards(shards: Sequence[Member]) -> None:
    splits = [member.header.split for member in shards if member.header and member.header.split]
    if len(splits) < len(shards):
        raise Unsafe(f"{shards[0].path.name} says nothing of the shards that belong to it")
    count = splits[0].count
    if any(split.count != count for split in splits):
        raise Unsafe(f"{shards[0].path.name} and the other shards belong to models of different counts")
    here = [split.index for split in splits]
    missing = sorted(set(range(count)) - set(here))
    if missing:
        listed = ", ".join(str(index + 1) for index in missing[:5]) + (" …" if len(missing) > 5 else "")
        raise Unsafe(
            f"{shards[0].path.name} is one of {count} shards, and of these {listed} "
            f"{'is' if len(missing) == 1 else 'are'} not there",
            hint="put all of them together: llstore put FOLDER, or a pattern in quotes",
        )
    if len(here) > count:
        raise Unsafe(f"{shards[0].path.name} and the others are {len(here)} shards of {count}")
    tensors = sum(len(member.header.tensors) for member in shards if member.header)
    if tensors != splits[0].tensors:
        raise Unsafe(f"{shards[0].path.name} and its shards hold {tensors} tensors, not {splits[0].tensors}")
