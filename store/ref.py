"""What a person types to mean a model: a digest, a digest prefix, a name, or a name with its digest."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from .digest import Digest
from .errors import InvalidRef

SHORTEST_PREFIX = 8
LONGEST_NAME = 255

_HEX = re.compile(r"[0-9a-fA-F]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A mutable pointer to a model: `org/name:tag`, `:latest` when no tag is typed."""

    path: str
    tag: str = "latest"

    @classmethod
    def parse(cls, text: str) -> "Name":
        """The name in `text`; raises InvalidRef when it is not one."""
        path, colon, tag = text.partition(":")
        if "/" not in path:
            raise InvalidRef(f"a name needs a '/': {text[:80]!r}", hint=f"for example team/{path[:40] or 'name'}")
        if len(path) > LONGEST_NAME or not _NAME.fullmatch(path) or (colon and not _TAG.fullmatch(tag)):
            raise InvalidRef(f"not a name: {text[:80]!r}", hint="a name is org/name or org/name:tag")
        return cls(path, tag or "latest")

    def __str__(self) -> str:
        return f"{self.path}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first 8 to 63 hex digits of a digest."""

    hex: str

    def __str__(self) -> str:
        return self.hex


Ref = Digest | Prefix | Name


def parse_ref(text: str) -> Ref:
    """What `text` refers to, without looking anything up; raises InvalidRef.

    In `name@sha256:…` the digest rules and the name is a remark.
    """
    name, at, pinned = text.partition("@")
    if at:
        Name.parse(name)
        return _digest(pinned)
    if text.lower().startswith("sha256:"):
        return _digest(text.lower())
    if _HEX.fullmatch(text):
        return _hex(text.lower())
    if text.startswith((".", "/", "~")) or text.endswith(".gguf"):
        raise InvalidRef(f"not a ref: {text[:80]!r}", hint="a file is put into the store first: llstore put FILE")
    return Name.parse(text)


def means(text: str, digest: Digest, names: Collection[Name] = ()) -> bool:
    """Whether `text` is a ref of the model with this digest, or one of these names of it."""
    try:
        ref = parse_ref(text)
    except InvalidRef:
        return False
    if isinstance(ref, Name):
        return ref in names
    return digest.hex.startswith(ref.hex)


def _digest(text: str) -> Digest:
    hexdigits = text.removeprefix("sha256:").lower()
    if _HEX.fullmatch(hexdigits) and len(hexdigits) != 64:
        raise InvalidRef(f"a SHA-256 has 64 hex digits, this has {len(hexdigits)}: {text[:90]!r}")
    return Digest.parse(text.lower())


def _hex(text: str) -> Digest | Prefix:
    if len(text) > 64:
        raise InvalidRef(f"a SHA-256 has 64 hex digits, this has {len(text)}: {text[:90]!r}")
    if len(text) < SHORTEST_PREFIX:
        raise InvalidRef(f"a digest prefix has at least {SHORTEST_PREFIX} hex digits: {text!r}")
    return Digest(text) if len(text) == 64 else Prefix(text)
