"""Requests of /tokenize and /detokenize, as llama-server has them."""

from pydantic import Field

from .completion import Tokens
from .settings import Shape


class TokenizeRequest(Shape):
    """A text that is to become tokens."""

    content: str = Field(description="The text.")
    model: str | None = Field(default=None, max_length=1024)
    add_special: bool = Field(default=False, description="Begin and end it as the vocabulary says.")
    parse_special: bool = Field(default=True, description="Read special tokens as what they name.")
    with_pieces: bool = Field(default=False, description="Say each token's text too.")


class DetokenizeRequest(Shape):
    """Tokens that are to become a text."""

    tokens: Tokens = Field(description="Token ids.")
    model: str | None = Field(default=None, max_length=1024)
