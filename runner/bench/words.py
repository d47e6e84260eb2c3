"""Tokens of a vocabulary that read as text."""

import random
from typing import Protocol

MANY = 4096
LEAST = 64


class Vocabulary(Protocol):
    """What is asked of a loaded model."""

    vocabulary_size: int

    def piece(self, token: int) -> bytes:
        """The token's bytes; none for a special one."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether it ends a generation."""
        ...


def words(model: Vocabulary, *, seed: int = 0) -> list[int]:
    """Up to 4096 tokens that are words with a space before them, or just printable where there are few of these.

    A prompt of them costs what text of the same length costs, and is answered with text.
    """
    tokens = list(range(model.vocabulary_size))
    random.Random(seed).shuffle(tokens)
    spaced: list[int] = []
    printable: list[int] = []
    for token in tokens:
        piece = model.piece(token)
        if not piece.isascii() or not piece.decode().isprintable() or not piece or model.is_end(token):
            continue
        printable.append(token)
        if piece.startswith(b" ") and piece[1:].isalpha():
            spaced.append(token)
        if len(spaced) == MANY:
            break
    return spaced if len(spaced) >= LEAST else printable
