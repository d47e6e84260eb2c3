"""Why an installation failed, in one line: what pip, uv, CMake and compilers write, read for its cause."""

import errno
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOM_LEFT = 16 << 20  # bytes: a disk with less is full, whether or not the log had room to say so
_LONG = 200  # characters of a quoted message
_MANY = 3  # messages that are quoted: the second may be the cause of the first


class InstallError(Exception):
    """An installation cannot go on: its cause, the next step, and the log that tells more."""

    def __init__(self, cause: str, *, hint: str, log: Path | None = None) -> None:
        self.cause, self.hint, self.log = cause, hint, log
        super().__init__(f"{cause}; {hint}" + (f" (log: {log})" if log else ""))


@dataclass(frozen=True, slots=True)
class Rule:
    """A log that matches `pattern` has this cause; its groups fill the braces."""

    pattern: str
    cause: str
    hint: str


_DISK = "free some space, or name a folder elsewhere with LLSTORE_BUILD_CACHE, and run it again"
_INDEX = "look at the network, and at the index and proxy in `pip config list`, and run it again"
_ELSEWHERE = "name another folder with --venv DIR (make: VENV=DIR)"
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), f"free some space, or {_ELSEWHERE}"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), f"a folder is needed there: remove the file, or {_ELSEWHERE}"),
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.EPERM), "name a folder that you may write with --venv DIR (make: VENV=DIR)"
    ),
}
# The first rule that matches names the cause: a refused connection also ends in "no matching distribution".
RULES = (
    Rule(r"No space left on device|[Dd]isk quota exceeded|os error 28\b", "the disk is full", _DISK),
    Rule(
        r"Killed signal terminated program|virtual memory exhausted|out of memory|Cannot allocate memory",
        "memory ran out",
        "set CMAKE_BUILD_PARALLEL_LEVEL=1 and run it again: it goes on where it stopped",
    ),
    Rule(
        r"(?:Hash mismatch for `?|DO NOT MATCH THE HASHES[^\n]*\n(?:[^\n]*\n)??\s+)([\w.-]+==[\w.]+)",
        "{} is not the file that the lock names",
        "another file has its name on the index: look at `pip config list`, and tell who runs that index",
    ),
    Rule(
        r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate|UnknownIssuer",
        "the certificate of the package index is not trusted",
        "name its authority: pip config set global.cert FILE",
    ),
    Rule(
        r"Connection refused|[Nn]ame resolution|Name or service not known|nodename nor servname|Network is unreachable"
        r"|No route to host|ConnectTimeout|NewConnectionError|error sending request|dns error|tcp connect error",
        "the package index cannot be reached",
        _INDEX,
    ),
    Rule(
        r"No matching distribution found for ([\w.-]+(?:==[\w.]+)?)",
        "{} is on none of the package indexes",
        "look at the indexes in `pip config list`",
    ),
    Rule(
        r"(?:Because |there is no version of )([\w.-]+(?:==[\w.]+)?)(?: was not found|\s+and you require)",
        "{} is on none of the package indexes",
        "look at the indexes in `pip config list`",
    ),
    Rule(
        r"ensurepip is not\s+available|No module named '?(?:ensurepip|venv)",
        "this Python cannot make virtual environments",
        "install its venv module (Debian, Ubuntu: apt-get install python3-venv), and run it again",
    ),
    Rule(
        r"(?m)^(\S+?:\d+:(?:\d+:)? (?:fatal )?error: [^\n]+)",
        "the compiler refused {}",
        "name another compiler with CC=… CXX=…",
    ),
)
# A message goes on, over empty lines, up to a line that is not indented.
_CMAKE_ERROR = re.compile(
    r"CMake Error(?: (?:at|in) [^\n]*)?:\s*(.+?)(?=\s+Possible reasons include:|\n\S|\Z)", re.DOTALL
)


def cause_in(log: str) -> tuple[str, str]:
    """The cause that a log tells, and the next step; its last line where no rule knows it."""
    for rule in RULES:
        if match := re.search(rule.pattern, log):
            return rule.cause.format(*(_short(group) for group in match.groups())), rule.hint
    if refusals := dict.fromkeys(map(_short, _CMAKE_ERROR.findall(log))):
        told = "; ".join(list(refusals)[:_MANY])
        return f"CMake refused: {told}", "change CMAKE_ARGS or install what it asks for"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return f"it ended with: {_short(lines[-1])}" if lines else "it ended without a word", "look into the log"


def system_error(error: OSError) -> InstallError:
    """What the system refused to do with a file or folder, and advice by its error number."""
    cause = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return InstallError(cause, hint=_ADVICE.get(error.errno or 0, _ELSEWHERE))


def full_disk(folders: Iterable[Path]) -> Path | None:
    """The first of these folders whose disk is full: then the log may have had no room to say so."""
    return next((folder for folder in folders if shutil.disk_usage(folder).free < ROOM_LEFT), None)


def _short(text: str) -> str:
    text = " ".join(text.split()).rstrip(".;")
    return text if len(text) <= _LONG else text[:_LONG] + "…"
