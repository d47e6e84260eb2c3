"""What a check found wrong, as a fact."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is wrong. The last three harm nobody: they only take space."""

    DAMAGED = "damaged"  # bytes are not what their name says
    UNREADABLE = "unreadable"  # the system does not let it be read
    MISSING = "missing"  # a live model's bytes are not there
    BLOCK_LIST = "block list"  # absent, or not that of its blob
    MANIFEST = "manifest"  # absent, or not the one its journal entry holds
    JOURNAL = "journal"  # an object that readers leave out: bytes may hang on it
    STRAY = "stray"  # a file that is no blob, where blobs lie
    LEFT_OVER = "left over"  # a part file whose writer died
    UNREFERENCED = "unreferenced"  # a blob of no live model


_HARMLESS = (Kind.STRAY, Kind.LEFT_OVER, Kind.UNREFERENCED)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with `subject` (a digest or a path), in `where` (cache or bucket); whether it was mended."""

    where: str
    kind: Kind
    subject: str
    detail: str
    repaired: bool = False

    @property
    def harmless(self) -> bool:
        """Whether it only takes space."""
        return self.kind in _HARMLESS

    @property
    def open(self) -> bool:
        """Whether something still has to be done about it."""
        return not self.repaired and not self.harmless


@dataclass(frozen=True, slots=True)
class Depth:
    """How closely to look: every byte (`full`), a share of each file's blocks (`sample`, 0 to 1), or what changed."""

    full: bool = False
    sample: float = 0.0
    repair: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a check: what was found, how many files were looked at, how many bytes were read or fetched."""

    findings: tuple[Finding, ...]
    files: int
    bytes_read: int
    bytes_fetched: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is left to be done."""
        return not any(finding.open for finding in self.findings)

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.findings + other.findings,
            self.files + other.files,
            self.bytes_read + other.bytes_read,
            self.bytes_fetched + other.bytes_fetched,
        )
