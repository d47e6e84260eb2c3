"""From the bytes of tokens to text that may be shown: whole characters, and nothing of a stop string."""

import codecs


class TextStream:
    """Turns pieces of bytes into text as early as is safe.

    It holds back bytes of a character that is not whole yet, and text that may turn out to be the start of a stop
    string. Bytes that are not UTF-8 become U+FFFD. The first stop string to be complete ends the text; of two that are
    complete at once, the longer one.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._searches = [Search(one) for one in stop]
        self._firsts = {one[0] for one in stop}
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
        if not self._held and self._firsts.isdisjoint(text):
            return text
        text, known = self._held + text, len(self._held)
        for end in range(known, len(text)):
            complete = [len(search.sought) for search in self._searches if search.push(text[end])]
            if complete:
                self.stopped, self._held = True, ""
                return text[: end + 1 - max(complete)]
        safe = len(text) - max((search.matched for search in self._searches), default=0)
        self._held = text[safe:]
        return text[:safe]


class Search:
    """Looks for a string in a text that comes character by character, in steps that do not grow with either (Knuth,
    Morris, Pratt)."""

    def __init__(self, sought: str) -> None:
        self.sought = sought
        self.matched = 0  # how many characters at the end of the text are the beginning of what is sought
        self._shorter = _borders(sought)

    def push(self, character: str) -> bool:
        """Whether the string ends with `character`."""
        matched = self.matched
        if matched == len(self.sought):
            matched = self._shorter[matched]
        while matched and self.sought[matched] != character:
            matched = self._shorter[matched]
        self.matched = matched + (self.sought[matched] == character)
        return self.matched == len(self.sought)


def _borders(text: str) -> list[int]:
    """For each beginning of `text`, by its length: the longest shorter one that it also ends with."""
    found = [0, 0]
    for character in text[1:]:
        length = found[-1]
        while length and text[length] != character:
            length = found[length]
        found.append(length + (text[length] == character))
    return found
