"""Grammars that an answer must follow: checked before llama.cpp reads them, and made from JSON Schemas."""

from .check import check_grammar
from .schema import json_schema_to_gbnf

__all__ = ["check_grammar", "json_schema_to_gbnf"]
