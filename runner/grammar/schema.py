"""From a JSON Schema to a grammar: what follows the grammar is JSON that fits the schema.

A keyword that no grammar can keep is refused rather than left out. What a schema only allows may be left out: objects
with `properties` hold no others. Values of `oneOf` are not kept from fitting two of its schemas.
"""

import json
from typing import Any
from urllib.parse import unquote

from ..errors import InvalidSampling
from .check import check_grammar
from .keywords import Schema, a_list, at, count, number, unkept
from .rules import MAX_BYTES
from .strings import CHARACTER, FORMATS, literal, pattern

MAX_DEPTH = 64
_BLOCK = 1000  # repetitions; llama.cpp takes at most 2000 of one thing

# What each type's values can be asked for, and what of that no grammar keeps.
_KEPT = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "additionalItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "boolean": set[str](),
    "null": set[str](),
}
_REFUSED = {
    "object": {"patternProperties", "propertyNames", "minProperties", "maxProperties", "unevaluatedProperties"}
    | {"dependencies", "dependentRequired", "dependentSchemas"},
    "array": {"uniqueItems", "contains", "minContains", "maxContains", "unevaluatedItems"},
    "number": {"multipleOf"},
    "integer": {"multipleOf"},
}
_REFUSED_ANYWHERE = ("not", "if", "then", "else", "$dynamicRef", "$recursiveRef")
_TELLING = {"$ref", "allOf", "anyOf", "oneOf", "enum", "const", "type", *_REFUSED_ANYWHERE}.union(
    *_KEPT.values(), *_REFUSED.values()
)

_PRIMITIVES = {
    "ws": '(" " | "\\n" [ \\t]{0,20})?',
    "character": CHARACTER,
    "string": '"\\"" character* "\\""',
    "whole": '"0" | [1-9] [0-9]{0,14}',
    "integer": '"-"? whole',
    "number": '"-"? whole ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "object": '"{" ws (string ":" ws value ("," ws string ":" ws value)* ws)? "}"',
    "array": '"[" ws (value ("," ws value)* ws)? "]"',
    "value": "object | array | string | number | boolean | null",
}


def json_schema_to_gbnf(schema: str | bool | Schema) -> str:
    """A grammar in GBNF for the values of a JSON Schema, given as its text or as what that means.

    Nothing is fetched: references stay inside the schema. Raises InvalidSampling.
    """
    try:
        return _converted(_loaded(schema))
    except RecursionError as error:
        raise InvalidSampling("the JSON Schema is nested too deep") from error


def _loaded(schema: str | bool | Schema) -> Any:
    try:
        text = schema if isinstance(schema, str) else json.dumps(schema, allow_nan=False)
        if len(text) > MAX_BYTES:
            raise InvalidSampling(f"the JSON Schema has {len(text)} characters; {MAX_BYTES} are the most")
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, TypeError) as error:
        raise InvalidSampling(f"the JSON Schema is not JSON: {error}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _converted(schema: Any) -> str:
    converter = _Converter(schema)
    root = converter.rule(schema, "", depth=0)
    rules = {"root": root, **converter.rules}
    text = "\n".join(f"{name} ::= {body}" for name, body in rules.items()) + "\n"
    try:
        check_grammar(text)
    except InvalidSampling as error:
        raise InvalidSampling(f"the JSON Schema makes a grammar that is refused: {error}") from error
    return text


class _Converter:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._of_refs: dict[str, str] = {}
        self.rules = dict(_PRIMITIVES)

    def rule(self, schema: Any, where: str, *, depth: int) -> str:
        """The name of a rule for the values of `schema`, which stands at `where`."""
        if depth > MAX_DEPTH:
            raise InvalidSampling(f"the JSON Schema is nested more than {MAX_DEPTH} deep")
        if schema is True:
            return "value"
        if not isinstance(schema, dict):
            said = "allows nothing" if schema is False else "is neither an object nor true"
            raise InvalidSampling(f"the JSON Schema{at(where)} {said}")
        schema = {name: value for name, value in schema.items() if name in _TELLING}
        if set(schema) == {"$ref"}:
            return self._referred(schema["$ref"], where)
        body = self._body(schema, where, depth)
        return body if body in _PRIMITIVES else self._add(body)

    def _add(self, body: str) -> str:
        name = f"rule-{len(self.rules)}"
        self.rules[name] = body
        return name

    def _referred(self, ref: Any, where: str) -> str:
        target = self._target(ref, where)
        if ref not in self._of_refs:
            self._of_refs[ref] = self._add("")
            self.rules[self._of_refs[ref]] = self.rule(target, str(ref), depth=0)
        return self._of_refs[ref]

    def _target(self, ref: Any, where: str) -> Any:
        if not isinstance(ref, str) or (ref != "#" and not ref.startswith("#/")):
            raise InvalidSampling(f"the JSON Schema{at(where)} refers to {ref!r:.100}: only #/… inside it can be read")
        found = self._root
        for part in unquote(ref).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, dict) and name in found:
                found = found[name]
            else:
                raise InvalidSampling(f"the JSON Schema{at(where)} refers to {ref!r:.100}, which is not there")
        return found

    def _body(self, schema: dict[str, Any], where: str, depth: int) -> str:
        for name in _REFUSED_ANYWHERE:
            if name in schema:
                raise unkept(name, where)
        if "$ref" in schema:
            schema = {**schema, "allOf": [{"$ref": schema["$ref"]}, *a_list(schema.get("allOf", []), "allOf", where)]}
            del schema["$ref"]
        if "allOf" in schema:
            return self.rule(self._merged(schema, where, depth), where, depth=depth + 1)
        for union in ("anyOf", "oneOf"):
            if union in schema:
                rest = {name: value for name, value in schema.items() if name != union}
                return self._union(a_list(schema[union], union, where), rest, f"{where}/{union}", depth=depth)
        if "const" in schema:
            return self._literals([schema["const"]], schema, where)
        if "enum" in schema:
            return self._literals(a_list(schema["enum"], "enum", where), schema, where)
        types = self._types(schema, where)
        if not types:
            return "value"
        return " | ".join(self._typed(one, schema, where, depth=depth) for one in types)

    def _types(self, schema: dict[str, Any], where: str) -> list[str]:
        types = schema.get("type")
        if types is None:
            # What is asked of objects makes it one: a grammar is to make what was thought of.
            asked = (kind for kind in _KEPT if (_KEPT[kind] | _REFUSED.get(kind, set())) & set(schema))
            return list(asked)[:1]
        found = types if isinstance(types, list) else [types]
        for one in found:
            if not isinstance(one, str) or one not in _KEPT:
                raise InvalidSampling(f"the JSON Schema{at(where)} has the type {one!r:.60}, which JSON does not have")
        if not found:
            raise InvalidSampling(f"the JSON Schema{at(where)} allows no type")
        return found

    def _typed(self, kind: str, schema: dict[str, Any], where: str, *, depth: int) -> str:
        for name in _REFUSED.get(kind, set()) & set(schema):
            harmless = name == "uniqueItems" and schema[name] is False
            if not harmless and not (kind == "integer" and name == "multipleOf" and schema[name] == 1):
                raise unkept(name, where)
        if not _KEPT[kind] & set(schema):
            return kind
        if kind == "object":
            return self._object(schema, where, depth)
        if kind == "array":
            return self._array(schema, where, depth)
        return self._string(schema, where) if kind == "string" else number(kind, schema, where)

    def _union(self, schemas: list[Any], rest: dict[str, Any], where: str, *, depth: int) -> str:
        if not schemas:
            raise InvalidSampling(f"the JSON Schema{at(where)} is empty")
        found = []
        for place, one in enumerate(schemas):
            both = one if not rest else {**rest, "allOf": [*a_list(rest.get("allOf", []), "allOf", where), one]}
            found.append(self.rule(both, f"{where}/{place}", depth=depth + 1))
        return " | ".join(dict.fromkeys(found))

    def _merged(self, schema: dict[str, Any], where: str, depth: int) -> dict[str, Any]:
        """One schema for all of `allOf`, and what stands beside it."""
        if depth > MAX_DEPTH:
            raise InvalidSampling(f"the JSON Schema is nested more than {MAX_DEPTH} deep")
        merged = {name: value for name, value in schema.items() if name != "allOf"}
        for part in a_list(schema["allOf"], "allOf", where):
            one = part
            if isinstance(one, dict) and "$ref" in one:
                one = {
                    **one,
                    "allOf": [self._target(one["$ref"], where), *a_list(one.get("allOf", []), "allOf", where)],
                }
                del one["$ref"]
            if isinstance(one, dict) and "allOf" in one:
                one = self._merged(one, where, depth + 1)
            if one is True:
                continue
            if not isinstance(one, dict):
                raise InvalidSampling(f"the JSON Schema{at(where)} has an allOf that allows nothing")
            _merge(merged, {name: value for name, value in one.items() if name in _TELLING}, where)
        return merged

    def _literals(self, values: list[Any], schema: dict[str, Any], where: str) -> str:
        types = self._types({"type": schema["type"]}, where) if "type" in schema else list(_KEPT)
        kept = [value for value in values if any(_is_of(value, one) for one in types)]
        others = set(schema) - {"enum", "const", "type"}
        if others:
            raise InvalidSampling(f"the JSON Schema{at(where)} has an enum or const beside {min(others)}")
        if not kept:
            raise InvalidSampling(f"the JSON Schema{at(where)} allows no value")
        return " | ".join(dict.fromkeys(literal(json.dumps(value, ensure_ascii=False)) for value in kept))

    def _object(self, schema: dict[str, Any], where: str, depth: int) -> str:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        named = all(isinstance(name, str) for name in a_list(required, "required", where))
        if not isinstance(properties, dict) or not named:
            raise InvalidSampling(f"the JSON Schema{at(where)} has properties or a required list that are none")
        others = schema.get("additionalProperties", True)
        if not properties and not required and others is not False:
            value = self.rule(others, f"{where}/additionalProperties", depth=depth + 1)
            pair = f'string ":" ws {value}'
            return f'"{{" ws ({pair} ("," ws {pair})* ws)? "}}"'
        pairs = {}
        for name in dict.fromkeys([*properties, *required]):
            value = self.rule(properties.get(name, others), f"{where}/properties/{name}", depth=depth + 1)
            pairs[name] = self._add(f"{literal(json.dumps(name, ensure_ascii=False) + ':')} ws {value}")
        return f'"{{" ws {self._pairs(pairs, set(required))} ws "}}"' if pairs else '"{" ws "}"'

    def _pairs(self, pairs: dict[str, str], required: set[str]) -> str:
        """Pairs in order, those that are not required or not: of all that follow a first one, and of all."""
        behind, alone = "", '""'
        for name, pair in reversed(pairs.items()):
            first = f"{pair} {behind}"
            alone = self._add(first if name in required else f"{first} | {alone}")
            following = f'"," ws {pair}'
            behind = self._add(f"{following if name in required else f'({following})?'} {behind}")
        return alone

    def _array(self, schema: dict[str, Any], where: str, depth: int) -> str:
        items = schema.get("items", True)
        fixed = a_list(items if isinstance(items, list) else schema.get("prefixItems", []), "prefixItems", where)
        rest = schema.get("additionalItems", True) if isinstance(items, list) else items
        least, most = count(schema, "minItems", where) or 0, count(schema, "maxItems", where)
        if fixed and most is None and least <= len(fixed):
            most = len(fixed)
        if most is not None and most < least:
            raise InvalidSampling(f"the JSON Schema{at(where)} has fewer maxItems than minItems")
        fixed = fixed if most is None else fixed[:most]
        found = [self.rule(one, f"{where}/prefixItems/{n}", depth=depth + 1) for n, one in enumerate(fixed)]
        least, most = max(least - len(fixed), 0), None if most is None else most - len(fixed)
        if rest is False and not least:
            most = 0
        if most == 0:
            return f'"[" ws {" ".join(_separated(found))} ws "]"'
        item = self.rule(rest, f"{where}/items", depth=depth + 1)
        if found:
            following = self._add(f'"," ws {item}')
            return f'"[" ws {" ".join(_separated(found))} {self._times(following, least, most)} ws "]"'
        following = self._add(f'"," ws {item}')
        several = f"{item} {self._times(following, max(least - 1, 0), None if most is None else most - 1)}"
        return f'"[" ws {several} ws "]"' if least else f'"[" ws ({several} ws)? "]"'

    def _string(self, schema: dict[str, Any], where: str) -> str:
        least, most = count(schema, "minLength", where) or 0, count(schema, "maxLength", where)
        regex, form = schema.get("pattern"), schema.get("format")
        sized = least > 0 or most is not None
        if regex is not None:
            if not isinstance(regex, str):
                raise InvalidSampling(f"the JSON Schema{at(where)} has a pattern that is no text")
            if sized or form in FORMATS:
                raise InvalidSampling(f"the JSON Schema{at(where)} has a pattern beside a length or format")
            return f'"\\"" {pattern(regex, "character")} "\\""'
        if isinstance(form, str) and form in FORMATS:
            if sized:
                raise InvalidSampling(f"the JSON Schema{at(where)} has a length beside a format")
            return f'"\\"" {FORMATS[form]} "\\""'
        if not sized:
            return "string"
        if most is not None and most < least:
            raise InvalidSampling(f"the JSON Schema{at(where)} has a maxLength below its minLength")
        return f'"\\"" {self._times("character", least, most)} "\\""'

    def _times(self, rule: str, least: int, most: int | None) -> str:
        """A rule so many times, in blocks where there are too many for one repetition."""
        parts = [self._exactly(rule, least)] if least else []
        if most is None:
            parts.append(f"{rule}*")
        elif most > least:
            parts.append(self._up_to(rule, most - least))
        return " ".join(parts) or '""'

    def _up_to(self, rule: str, count: int) -> str:
        if count <= _BLOCK:
            return f"{rule}{{0,{count}}}"
        blocks, rest = divmod(count, _BLOCK)
        block = self._add(f"{rule}{{{_BLOCK}}}")
        short = f"{block}{{0,{blocks - 1}}} {rule}{{0,{_BLOCK - 1}}}"
        return f"({short} | {block}{{{blocks}}} {rule}{{0,{rest}}})"

    def _exactly(self, rule: str, count: int) -> str:
        blocks, rest = divmod(count, _BLOCK)
        parts = [f"{self._add(f'{rule}{{{_BLOCK}}}')}{{{blocks}}}"] if blocks else []
        return " ".join([*parts, *([f"{rule}{{{rest}}}"] if rest else [])])


def _merge(merged: dict[str, Any], more: dict[str, Any], where: str) -> None:
    for name, value in more.items():
        if name not in merged:
            merged[name] = value
        elif name == "required":
            merged[name] = [*a_list(merged[name], name, where), *a_list(value, name, where)]
        elif name == "properties" and isinstance(value, dict) and isinstance(merged[name], dict):
            for one, schema in value.items():
                known = merged[name].get(one, schema)
                both = known if known == schema else {"allOf": [known, schema]}
                merged[name] = {**merged[name], one: both}
        elif merged[name] != value:
            raise InvalidSampling(f"the JSON Schema{at(where)} asks for two {name} at once, which no grammar keeps")


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool) or value is None:
        return kind == ("null" if value is None else "boolean")
    if kind in ("number", "integer"):
        return isinstance(value, int | float) and (kind == "number" or value == int(value))
    kinds = {"object": dict, "array": list, "string": str}
    return kind in kinds and isinstance(value, kinds[kind])


def _separated(parts: list[str]) -> list[str]:
    return [part if not n else f'"," ws {part}' for n, part in enumerate(parts)]
