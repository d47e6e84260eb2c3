"""Grammars in llama.cpp's GBNF."""

from .errors import InvalidSampling

MAX_BYTES = 256 * 1024


def check_grammar(text: str) -> None:
    """Raises InvalidSampling."""
    if not isinstance(text, str) or not text:
        raise InvalidSampling(f"grammar is {text!r:.100}; it must be a text in GBNF")
