"""The digest: what bytes are called everywhere."""

import hashlib
import re
from dataclasses import dataclass

from .errors import InvalidRef

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The SHA-256 of some bytes, as a value. `str()` gives `sha256:<64 hex>`, `.hex` what `sha256sum` prints."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise InvalidRef(f"not a SHA-256 digest: {self.hex[:80]!r}", hint="a digest is 64 hex digits")

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """The digest in `sha256:<64 hex>`; raises InvalidRef for anything else."""
        algorithm, colon, hexdigits = text.partition(":")
        if algorithm != "sha256" or not colon:
            raise InvalidRef(f"not a SHA-256 digest: {text[:80]!r}", hint="a digest is sha256: and 64 hex digits")
        return cls(hexdigits)

    @classmethod
    def of(cls, data: bytes) -> "Digest":
        """The digest of bytes in memory."""
        return cls(hashlib.sha256(data).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 hex digits, for people's eyes only."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
