"""Parameters that are known, and refused: nobody should believe that they had an effect."""

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

KIND = "unsupported_parameter"


def _undone(value: object) -> None:
    if value is not None:
        raise PydanticCustomError(KIND, "this server does not do that")


def _unkept(value: object) -> None:
    if value is not None:
        raise PydanticCustomError(KIND, "this server keeps nothing between requests")


Undone = Annotated[None, BeforeValidator(_undone)]
Unkept = Annotated[None, BeforeValidator(_unkept)]
