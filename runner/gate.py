"""The gate in front of llama.cpp: what does not pass is not loaded. Verdicts are kept, for bytes do not change."""

from pathlib import Path

from ..store import Digest, GetResult
from ..store.cache import Cache
from ..store.errors import Unsafe
from ..store.gate import Lint, Verdict, check_file
from .errors import ExtraMissing


def linter() -> Lint | None:
    """What lints chat templates; None when jinja2 is not installed."""
    try:
        from .chat.lint import lint
    except ImportError:
        return None
    return lint


def verdict(path: Path, digest: Digest, cache: Cache) -> Verdict:
    """The verdict on a cached file: the one that is kept, or a new one. Raises DiskError."""
    kept = cache.verdicts.find(digest)
    if kept and kept.complete:
        return kept
    lint = linter()
    if kept and lint is None:
        return kept
    found = check_file(path, lint)
    cache.verdicts.keep(digest, found)
    return found


def admit(model: GetResult, cache: Cache) -> None:
    """Let a model pass, if the gate lets all its GGUF files pass; raises Unsafe for the first that it does not.

    Raises ExtraMissing when a chat template cannot be looked at.
    """
    for file in model.files:
        if not file.entry.role.is_gguf:
            continue
        found = verdict(file.path, file.entry.digest, cache)
        if not found.safe:
            raise Unsafe(
                f"{file.entry.digest} is not safe to load: {found.problems[0].detail}",
                hint=f"llstore check {model.manifest.model.short} shows all; --unchecked runs it all the same",
            )
        if not found.complete:
            raise ExtraMissing("jinja2")
