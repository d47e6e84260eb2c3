"""Reading a lock: every fact of the right kind, and none that contradicts another."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..digest import Digest
from ..disk import disk_errors
from ..errors import FileNotThere, FormatTooNew, InvalidRef, LockBroken
from ..manifest import FileEntry, Role
from ..ref import Prefix, parse_ref
from .lockfile import FILE, VERSION, Locked, Lockfile
from .project import is_word, known_roles, words

ANEW = "llstore lock makes it anew"

_TEXTS = ("architecture", "quantization", "license")
_NEEDED = ("name", "ref", "digest", "manifest", "size", "files")
_KEYS = {*_NEEDED, *_TEXTS, "parameters", "template", "roles", "profiles"}
_FILE_KEYS = {"role", "digest", "size", "blocks"}


def load(path: Path) -> Lockfile:
    """The lock at `path`; raises FileNotThere, LockBroken or FormatTooNew."""
    if not path.is_file():
        raise FileNotThere(f"no {path}", hint="llstore lock makes it")
    with disk_errors(path):
        data = path.read_bytes()
    return decode(data)


def decode(data: bytes) -> Lockfile:
    """The lock in `data`; raises LockBroken or FormatTooNew."""
    import tomllib  # every command imports this file, and few read a lock

    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise _broken(f"it is not TOML: {error}") from error
    _check_version(document.get("version"))
    tables = document.get("model", [])
    if not isinstance(tables, list) or not _only(document, {"version", "model"}):
        raise _broken("it holds more than a version and models")
    models = [_checked(table) for table in tables]
    names = [model.name for model in models]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise _broken(f"{doubles[0]} is in it twice")
    return Lockfile.of(models)


def _check_version(version: Any) -> None:
    if type(version) is not int or version < 1:
        raise _broken("it names no version")
    if version > VERSION:
        raise FormatTooNew(
            f"{FILE} is of version {version}, this llstore reads version {VERSION}",
            hint="upgrade: pip install -U llstore",
        )


def _broken(what: str) -> LockBroken:
    return LockBroken(f"{FILE} does not hold: {what}", hint=ANEW)


def _checked(table: Any) -> Locked:
    name = table.get("name") if isinstance(table, dict) else None
    if not is_word(name):
        raise _broken("a model in it has no name")
    try:
        model = _model(table)
        _agrees_with_itself(model, size=_whole(table["size"]))
    except (ValueError, InvalidRef) as error:
        raise _broken(f"{name}: {error}") from error
    return model


def _model(table: dict[str, Any]) -> Locked:
    for key in _NEEDED:
        if key not in table:
            raise ValueError(f"{key} is missing")
    if not _only(table, _KEYS):
        raise ValueError(f"what is {', '.join(sorted(set(table) - _KEYS))}?")
    if not isinstance(table["files"], list) or not table["files"]:
        raise ValueError("it has no files")
    return Locked(
        name=table["name"],
        ref=_text(table["ref"]),
        digest=_digest(table["digest"]),
        manifest=_digest(table["manifest"]),
        files=tuple(map(_file, table["files"])),
        parameters=_whole(table["parameters"]) if "parameters" in table else None,
        template=_digest(table["template"]) if "template" in table else None,
        roles=known_roles(table["roles"]) if "roles" in table else (),
        profiles=words(table["profiles"]) if "profiles" in table else (),
        **{key: _text(table[key]) for key in _TEXTS if key in table},
    )


def _agrees_with_itself(model: Locked, *, size: int) -> None:
    digests = [file.digest for file in model.files]
    if size != model.size:
        raise ValueError(f"its size is {size}, and that of its files {model.size}")
    if len(set(digests)) != len(digests):
        raise ValueError("it has a file twice")
    if len(digests) == 1 and model.digest != digests[0]:
        raise ValueError(f"its digest is {model.digest}, and that of its only file {digests[0]}")
    if len(digests) > 1 and model.digest != model.manifest:
        raise ValueError(f"its digest is {model.digest}, and that of its manifest {model.manifest}")
    if not {*model.roles} <= {file.role for file in model.files}:
        raise ValueError("it has no file of a role that is wanted")
    ref = parse_ref(model.ref)
    if (isinstance(ref, Digest) and ref != model.digest) or (
        isinstance(ref, Prefix) and not model.digest.hex.startswith(ref.hex)
    ):
        raise ValueError(f"its ref is {model.ref}, and its digest {model.digest}")


def _file(entry: Any) -> FileEntry:
    if not isinstance(entry, dict) or set(entry) != _FILE_KEYS:
        raise ValueError(f"a file has {', '.join(sorted(_FILE_KEYS))}, no more and no less")
    (role,) = known_roles([entry["role"]])
    return FileEntry(Role(role), _digest(entry["digest"]), _whole(entry["size"]), _digest(entry["blocks"]))


def _only(table: dict[str, Any], keys: Collection[str]) -> bool:
    return set(table) <= set(keys)


def _digest(value: Any) -> Digest:
    return Digest.parse(_text(value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r} is not a size or a count")
    return value
