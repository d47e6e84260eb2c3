"""What llama.cpp writes to its log: kept silent, the latest errors remembered for messages."""

from collections import deque

# enum ggml_log_level; a continuation belongs to the line before it.
ERROR, CONTINUED = 4, 5


class ErrorLines:
    """The latest lines that llama.cpp logged as errors."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=8)
        self._level = 0

    def write(self, level: int, text: bytes | None) -> None:
        """Takes one message of the log."""
        continued = level == CONTINUED
        self._level = self._level if continued else level
        if self._level != ERROR or not text:
            return
        line = text.decode("utf-8", errors="replace").replace("\n", " ")
        if continued and self._lines:
            self._lines[-1] += line
        else:
            self._lines.append(line)

    def clear(self) -> None:
        """Forgets all lines, before a call whose errors are wanted."""
        self._lines.clear()

    def summary(self) -> str:
        """The lines as one, without the names of functions and the closing line that only says that it failed."""
        said = [line.partition(": ")[2].strip() or line.strip() for line in self._lines]
        telling = [line for line in said if line != "failed to load model"]
        return "; ".join(telling or said) or "it gave no reason"
