"""From the bytes of tokens to text that may be shown: whole characters, and nothing of a stop string."""

import codecs


class TextStream:
    """Turns pieces of bytes into text as early as is safe.

    It holds back bytes of a character that is not whole yet, and text that may turn out to be the start of a stop
    string. Bytes that are not UTF-8 become U+FFFD.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._stop = stop
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False

    def push(self, piece: bytes) -> str:
        """The text that `piece` makes safe to show; "" from the stop string on."""
        return self._take(self._decoder.decode(piece))

    def finish(self) -> str:
        """The text that was held back; no more pieces may follow."""
        shown = self._take(self._decoder.decode(b"", final=True))
        rest, self._held = self._held, ""
        return shown + rest

    def _take(self, text: str) -> str:
        if self.stopped:
            return ""
        self._held += text
        cut = first_stop(self._held, self._stop)
        if cut is not None:
            self.stopped = True
            shown, self._held = self._held[:cut], ""
            return shown
        safe = len(self._held) - held_back(self._held, self._stop)
        shown, self._held = self._held[:safe], self._held[safe:]
        return shown


def first_stop(text: str, stop: tuple[str, ...]) -> int | None:
    """Where in `text` the first stop string begins."""
    return min((at for at in map(text.find, stop) if at >= 0), default=None)


def held_back(text: str, stop: tuple[str, ...]) -> int:
    """How many characters at the end of `text` may be the start of a stop string."""
    return max((_overlap(text, s) for s in stop), default=0)


def _overlap(text: str, stop: str) -> int:
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
