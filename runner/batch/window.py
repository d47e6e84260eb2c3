"""Answers in the order of their questions, though they come in any."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finished:
    """What is to be written for one line: `data` is a line of JSON with its newline.

    `number` is the line's, `of` the digest of what it asked, `failed` says that there is no answer.
    """

    number: int
    of: str
    data: bytes
    failed: bool


class Window:
    """What is finished ahead of its turn waits here: at most `lines` lines, of about `size` bytes in all.

    When the window is full nothing new is begun, until the line whose turn it is has finished.
    """

    def __init__(self, *, lines: int, size: int, first: int = 0) -> None:
        self._lines = lines
        self._size = size
        self._held: dict[int, Finished] = {}
        self._bytes = 0
        self.next = first

    def room_for(self, number: int) -> bool:
        """Whether the line of that number may be begun: the one whose turn it is always may."""
        return number == self.next or (number < self.next + self._lines and self._bytes < self._size)

    def put(self, finished: Finished) -> None:
        """A line is finished."""
        self._held[finished.number] = finished
        self._bytes += len(finished.data)

    def take(self) -> list[Finished]:
        """The lines whose turn it is, in order."""
        found = []
        while self.next in self._held:
            finished = self._held.pop(self.next)
            self._bytes -= len(finished.data)
            found.append(finished)
            self.next += 1
        return found

    @property
    def waiting(self) -> tuple[Finished, ...]:
        """What is finished ahead of its turn."""
        return tuple(self._held.values())
