"""The form that an answer has to have."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ...grammar import json_schema_to_gbnf
from .settings import Shape

JsonSchema = dict[str, Any]
ANY_OBJECT: JsonSchema = {"type": "object"}


class TextFormat(Shape):
    """Any text."""

    type: Literal["text"]


class AnyJson(Shape):
    """A JSON object."""

    type: Literal["json_object"]


class NamedSchema(Shape):
    """A JSON Schema, and what it is called; answers always fit it, strict or not."""

    name: str = Field(max_length=64)
    description: str | None = None
    schema_: JsonSchema | None = Field(default=None, alias="schema")
    strict: bool | None = None


class SchemaFormat(Shape):
    """JSON that fits a schema, as chat completions say it."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class FlatSchema(NamedSchema):
    """JSON that fits a schema, as responses say it."""

    type: Literal["json_schema"]


Format = TextFormat | AnyJson | SchemaFormat | FlatSchema
ResponseFormat = Annotated[TextFormat | AnyJson | SchemaFormat, Field(discriminator="type")]
FlatFormat = Annotated[TextFormat | AnyJson | FlatSchema, Field(discriminator="type")]


def grammar_of(form: Format | None) -> str | None:
    """The grammar (GBNF) that an answer has to fit; None for any text. Raises InvalidSampling."""
    schema = _schema_of(form)
    return None if schema is None else json_schema_to_gbnf(schema)


def _schema_of(form: Format | None) -> JsonSchema | None:
    if isinstance(form, AnyJson):
        return ANY_OBJECT
    named = form.json_schema if isinstance(form, SchemaFormat) else form
    if not isinstance(named, NamedSchema):
        return None
    return named.schema_ if named.schema_ is not None else ANY_OBJECT
