"""How an engine's process ended, for people."""

import signal
from collections.abc import Collection
from dataclasses import dataclass

_FLAGS = ("--ctx", "--no-repack")


@dataclass(frozen=True, slots=True)
class CrashReport:
    """`ended` says how the process ended ("SIGABRT", "exit code 1"), `lines` are the last ones that it wrote.

    `suspects` are the requests of the call that it was in; None when that is not known. `doing` is what llama.cpp was
    at ("read a prompt of 40 tokens"), `message` what ggml said of it; "" when they are not known.
    """

    ended: str
    suspects: tuple[int, ...] | None
    lines: tuple[str, ...] = ()
    doing: str = ""
    message: str = ""

    @property
    def summary(self) -> str:
        """One line: how it ended, the line that says most, and what it was at."""
        return f"{self.cause}{self.occasion}"

    @property
    def cause(self) -> str:
        """How it ended, and the line that says most."""
        return f"{self.ended}: {self.telling}" if self.telling else self.ended

    @property
    def occasion(self) -> str:
        """What it was at, to be put behind another word; "" when that is not known."""
        return f" while it {self.doing}" if self.doing else ""

    @property
    def telling(self) -> str:
        """What ggml said, or the last line before Python's own account of where it was; "" if there is none."""
        if self.message:
            return self.message
        before: list[str] = []
        for line in filter(str.strip, self.lines):
            if line.startswith("Fatal Python error"):
                return (before or [line])[-1].strip()
            before.append(line)
        return before[-1].strip() if before else ""

    def advice(self, flags: Collection[str] = _FLAGS) -> str:
        """What to try, with those of `flags` that the command has."""
        if self.ended == "SIGKILL":
            less = "a smaller --ctx" if "--ctx" in flags else "a smaller model"
            return f"the system kills what takes too much memory: {less} takes less"
        if self.ended == "SIGBUS":
            return "llstore fsck checks the file, llstore doctor shows the build"
        repack = ", --no-repack computes without its fastest kernels" if "--no-repack" in flags else ""
        return f"llstore doctor shows the build{repack}"


def ending(code: int) -> str:
    """A return code as subprocess gives it, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
