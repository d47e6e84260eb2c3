"""What an answer turns out to be, piece by piece."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Said:
    """Text for people."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call of the tool `name`; its arguments follow. Calls are counted from 0."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of a call's arguments, as JSON text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is whole: its arguments are a JSON object."""

    index: int


@dataclass(frozen=True, slots=True)
class CallBroken:
    """What began as a call is none, or was cut off. Its text follows as Said, as the model wrote it."""

    index: int


Piece = Said | CallBegun | CallArguments | CallEnded | CallBroken


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """With neighbours that go on with the same text as one piece, and none that is empty."""
    found: list[Piece] = []
    for _, group in groupby(pieces, _goes_on):
        first, *rest = group
        if isinstance(first, Said | CallArguments):
            text = first.text + "".join(one.text for one in rest if isinstance(one, Said | CallArguments))
            found += [replace(first, text=text)] if text else []
        else:
            found.append(first)
    return found


def _goes_on(piece: Piece) -> object:
    """The same for pieces that may be joined; what is no text is never the same as anything."""
    if isinstance(piece, Said):
        return -1
    return piece.index if isinstance(piece, CallArguments) else object()
