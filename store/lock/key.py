"""The name of a cache in CI: the same for the same bytes, another for others."""

import hashlib
from collections.abc import Iterable

from ..manifest import canonical
from .lockfile import Locked

PREFIX = "llstore-v1-"


def cache_key(models: Iterable[Locked]) -> str:
    """A key for what a sync of these models brings: a function of their digests and files, in no order."""
    held = {(str(model.digest), *sorted(str(file.digest) for file in model.wanted_files)) for model in models}
    return PREFIX + hashlib.sha256(canonical([list(one) for one in sorted(held)])).hexdigest()[:32]
