"""How an engine's process ended, for people."""

import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CrashReport:
    """`ended` says how the process ended ("SIGABRT", "exit code 1"), `lines` are the last ones that it wrote.

    `suspects` are the requests of the call that it was in; None when that is not known.
    """

    ended: str
    suspects: tuple[int, ...] | None
    lines: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line: how it ended, and the line that says most."""
        return f"{self.ended}: {self.telling}" if self.telling else self.ended

    @property
    def telling(self) -> str:
        """The last line before Python's own account of where it was; "" if nothing was written."""
        before: list[str] = []
        for line in filter(str.strip, self.lines):
            if line.startswith("Fatal Python error"):
                return (before or [line])[-1].strip()
            before.append(line)
        return before[-1].strip() if before else ""


def ending(code: int) -> str:
    """A return code as subprocess gives it, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
