"""constraints.txt: one version and its hashes for each package that is installed here.

uv checks the hashes of a constraint file; pip does not, so what pip fetches is written out as a requirement.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "constraints.txt"  # every package of every extra
TOOLS = ROOT / "install" / "tools.txt"  # uv, and what builds wheels

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")


@dataclass(frozen=True, slots=True)
class Pin:
    """A package at one version; a file of it is genuine when its SHA-256 is among `hashes`."""

    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """The line of a requirements file that pip verifies."""
        return f"{self.name}=={self.version} " + " ".join(f"--hash=sha256:{each}" for each in self.hashes)


def pins(text: str) -> dict[str, Pin]:
    """The pins of a lock's text, by name as written there (lower case, hyphens)."""
    found: dict[str, Pin] = {}
    for entry in re.sub(r"\\\n", " ", text).splitlines():
        if match := _PIN.match(entry):
            name, version = match.groups()
            found[name] = Pin(name, version, tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)))
    return found
