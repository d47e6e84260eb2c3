"""The lockfile: what a project wants, pinned to digests, and the cache made to hold exactly that (docs/ci.md)."""

from .agreement import Disagreement
from .lockfile import FILE, Locked, Lockfile
from .project import Wanted, parse_models
from .reading import load

__all__ = ["FILE", "Disagreement", "Locked", "Lockfile", "Wanted", "load", "parse_models"]
