"""The extras of pyproject.toml, and which of them want llama.cpp."""

import re
import tomllib
from collections.abc import Iterable

from locked import ROOT

_SELF = re.compile(r"^llstore\[([^\]]*)\]")


def _extras() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


def extra_names(text: str) -> tuple[str, ...]:
    """The names in `serve, client`, which commas, spaces or both separate."""
    return tuple(text.replace(",", " ").split())


def known_extras() -> set[str]:
    return set(_extras())


def needs_llama(extras: Iterable[str]) -> bool:
    """Whether one of them, or an extra it names, requires llama-cpp-python."""
    return any(_needs_llama(requirement) for name in extras for requirement in _extras()[name])


def _needs_llama(requirement: str) -> bool:
    if inner := _SELF.match(requirement):
        return needs_llama(name.strip() for name in inner[1].split(","))
    return requirement.startswith("llama-cpp-python")
