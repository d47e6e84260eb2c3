"""Grammars of the texts that are calls: with one, a model cannot but call a tool, with arguments that fit."""

import re
from collections.abc import Sequence
from typing import Any

from ..errors import InvalidSampling, InvalidTool
from ..grammar import json_schema_to_gbnf
from ..grammar.strings import literal
from .families import Style
from .tool import Tool

MAX_CALLS = 16  # in one answer: a model that cannot end would call on and on

# What names may stand among in GBNF: texts and classes of characters.
_WORD = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[a-zA-Z][a-zA-Z0-9-]*')
_MADE = re.compile(r"root|rule-[0-9]+")


def calls_grammar(tools: Sequence[Tool], style: Style, *, several: bool) -> str:
    """GBNF for one call of any of the tools, or for several. Raises InvalidTool for a schema that no grammar keeps."""
    return _grammar(_calls(style, several=several), _tool_rules(tools, style, strict=True))


def reply_or_calls_grammar(tools: Sequence[Tool], style: Style, *, several: bool) -> str:
    """GBNF for either a call, or several, or `{"reply": "…"}`. Of a schema that no grammar keeps, it keeps only that
    arguments are an object."""
    calls = _calls(style, several=several)
    reply = literal('{"reply": ') + ' string "}"'
    return _grammar(f"{reply} | {calls}", _tool_rules(tools, style, strict=False))


def _calls(style: Style, *, several: bool) -> str:
    start, between, end = (literal(text) if text else "" for text in (style.start, style.between, style.end))
    more = f"({between} call){{0,{MAX_CALLS - 1}}}" if several else ""
    whole = " ".join(part for part in (start, "call", more, end) if part)
    if style.alone:
        return f"(call | {whole})" if several else "call"
    return whole


def _grammar(root: str, rules: dict[str, str]) -> str:
    return "\n".join(f"{name} ::= {body}" for name, body in {"root": root, **rules}.items()) + "\n"


def _tool_rules(tools: Sequence[Tool], style: Style, *, strict: bool) -> dict[str, str]:
    """The rule `call`, and those it needs: of the arguments of the tools, by their places."""
    rules = {"call": " | ".join(f"call-{n}" for n in range(len(tools)))}
    for n, tool in enumerate(tools):
        before, after = literal(style.before + tool.name + style.middle), literal(style.after)
        rules[f"call-{n}"] = f"{before} arguments-{n} {after if style.after else ''}".strip()
        rules |= _argument_rules(tool, f"arguments-{n}", strict=strict)
    return rules | ({} if "string" in rules else _rules_of("string"))


def _argument_rules(tool: Tool, name: str, *, strict: bool) -> dict[str, str]:
    try:
        text = json_schema_to_gbnf(_closed(tool.parameters))
    except InvalidSampling as error:
        if strict:
            raise InvalidTool(f"a call of the tool {tool.name} cannot be forced: {error}") from error
        text = json_schema_to_gbnf({"type": "object"})
    return {_renamed(one, name): _renamed(body, name) for one, body in _split(text)}


def _rules_of(kind: str) -> dict[str, str]:
    return {name: body for name, body in _split(json_schema_to_gbnf({"type": kind})) if name != "root"}


def _split(grammar: str) -> list[tuple[str, str]]:
    lines = (line.split(" ::= ", 1) for line in grammar.splitlines())
    return [(name, body) for name, body in lines]


def _renamed(body: str, name: str) -> str:
    """With rules that were made for one schema under names of its own; what all schemas share keeps its name."""

    def rename(word: re.Match[str]) -> str:
        found = word.group()
        return f"{name}-{found}".removesuffix("-root") if _MADE.fullmatch(found) else found

    return _WORD.sub(rename, body)


def _closed(parameters: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object; one that names no properties is of an empty one, which is what was thought of."""
    asks = {"properties", "$ref", "allOf", "anyOf", "oneOf", "required", "additionalProperties", "enum", "const"}
    if not any(parameters.get(name) for name in asks):
        return {"type": "object", "additionalProperties": False}
    return {"type": "object", **parameters}
