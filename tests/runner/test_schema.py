"""A JSON Schema becomes a grammar, all of whose texts are JSON that fits the schema."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from llstore.runner import Generator, InvalidSampling, Message, Sampling, chat_prompt
from llstore.runner.grammar import json_schema_to_gbnf
from llstore.runner.llama import LlamaModel
from llstore.runner.llama.grammar import Grammar

PERSON = {
    "type": "object",
    "title": "A person",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 30},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "mood": {"enum": ["good", "bad", None]},
        "scores": {"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1}, "maxItems": 4},
        "email": {"type": "string", "pattern": r"^[a-z]{1,8}@[a-z]{1,8}\.(org|net)$"},
        "friend": {"$ref": "#/$defs/friend"},
    },
    "required": ["name", "age", "mood"],
    "additionalProperties": False,
    "$defs": {
        "friend": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}, "required": ["name"]}
    },
}
SCHEMAS: list[Any] = [
    True,
    {},
    PERSON,
    {"type": ["integer", "null"]},
    {"const": {"a": ['"', "\\", "\n"]}},
    {"enum": [1, "a", False, 2.5, [], {"b": None}]},
    {"type": "integer", "exclusiveMinimum": -12, "exclusiveMaximum": 345},
    {"type": "integer", "minimum": 95},
    {"type": "integer", "maximum": -7},
    {"type": "number", "minimum": -3, "exclusiveMaximum": 3},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    {"type": "number", "maximum": -100},
    {"type": "string", "minLength": 2, "maxLength": 4},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "uuid"},
    *(
        {"type": "string", "pattern": regex}
        for regex in (r"^[A-Z]\d+$", "b|^a", r"^[\"\\]x$", r"^(?:ab){2,3}\s?$", r"^[^\w]$")
    ),
    {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}], "items": False},
    {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "null"}, "minItems": 2, "maxItems": 3},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"properties": {"a": {"type": "null"}, 'b"\\': {"type": "null"}, "c": {"type": "null"}}, "required": ["c", "d"]},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    {
        "allOf": [{"$ref": "#/$defs/a"}, {"properties": {"y": {"type": "integer"}}}],
        "$defs": {"a": {"properties": {"x": {"type": "integer"}}, "required": ["x"]}},
    },
    {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {"type": "object", "properties": {"l": {"$ref": "#/$defs/tree"}, "r": {"$ref": "#/$defs/tree"}}}
        },
    },
    {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
    {"properties": {"a/b": {"$ref": "#/$defs/x~1y%20z"}}, "required": ["a/b"], "$defs": {"x/y z": {"type": "null"}}},
]
REFUSED: list[tuple[Any, str]] = [
    ("{", "not JSON"),
    ('{"const": NaN}', "NaN"),
    ("[" * 100_000, "nested too deep"),
    (7, "neither an object nor true"),
    (False, "allows nothing"),
    ({"type": "text"}, "'text'"),
    ({"type": []}, "allows no type"),
    ({"$ref": "https://example.com/schema.json"}, "only #/"),
    ({"$ref": "file:///etc/passwd"}, "only #/"),
    ({"$ref": "#/$defs/none"}, "not there"),
    ({"$ref": ["#"]}, "only #/"),
    ({"$ref": "#"}, "begins with itself"),
    ({"allOf": [{"$ref": "#"}]}, "deep"),
    ({"not": {"type": "null"}}, "asks for not"),
    ({"if": True, "then": True}, "asks for if"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"type": "object", "patternProperties": {"a": True}}, "patternProperties"),
    ({"type": "integer", "multipleOf": 3}, "multipleOf"),
    ({"type": "number", "minimum": 0.5}, "fraction"),
    ({"type": "integer", "minimum": 5, "maximum": 4}, "no number"),
    ({"type": "integer", "minimum": "5"}, "minimum"),
    ({"type": "string", "minLength": -1}, "minLength"),
    ({"type": "string", "maxLength": 10**9}, "100000 is the most"),
    ({"type": "string", "pattern": "("}, "no regular expression"),
    ({"type": "string", "pattern": "(?=a)b"}, "no grammar can say"),
    ({"type": "string", "pattern": "a{3000}"}, "2000"),
    ({"type": "string", "pattern": 7}, "no text"),
    ({"type": "string", "pattern": "^a$", "maxLength": 4}, "beside a length"),
    ({"type": "array", "items": True, "minItems": 3, "maxItems": 2}, "fewer maxItems"),
    ({"enum": []}, "no value"),
    ({"enum": 5}, "no list"),
    ({"required": "a"}, "no list"),
    ({"properties": []}, "none"),
    ({"anyOf": []}, "empty"),
    ({"allOf": [{"minimum": 1}, {"minimum": 2}]}, "two minimum"),
    ("x" * 300_000, "262144 are the most"),
]


def fits(value: Any, schema: Any, root: Any) -> bool:  # noqa: C901
    """Whether a value fits a schema; the keywords that the schemas above use, as the specification has them."""
    if isinstance(schema, bool):
        return schema
    kinds = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].split("/")[1:]:
            target = target[part.replace("%20", " ").replace("~1", "/")]
        if not fits(value, target, root):
            return False
    number = isinstance(value, int | float) and not isinstance(value, bool)
    types = schema.get("type", [])
    for one in [types] if isinstance(types, str) else types:
        if isinstance(value, kinds[one]) if one in kinds else number and (one == "number" or value == int(value)):
            break
    else:
        if types:
            return False
    checks = [
        value in schema["enum"] if "enum" in schema else True,
        value == schema["const"] if "const" in schema else True,
        any(fits(value, one, root) for one in schema["anyOf"]) if "anyOf" in schema else True,
        all(fits(value, one, root) for one in schema.get("allOf", [])),
    ]
    if number:
        checks += [value >= schema.get("minimum", value), value <= schema.get("maximum", value)]
        checks += [value > schema.get("exclusiveMinimum", value - 1), value < schema.get("exclusiveMaximum", value + 1)]
    if isinstance(value, str):
        checks += [schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))]
        checks += [bool(re.search(schema.get("pattern", ""), value))]
        forms = {"date": r"\d{4}-\d\d-\d\d", "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"}
        checks += [bool(re.fullmatch(forms.get(schema.get("format"), r"[^\0]*"), value))]
    if isinstance(value, list):
        fixed = schema.get("prefixItems", [])
        checks += [fits(one, sub, root) for one, sub in zip(value, fixed, strict=False)]
        checks += [fits(one, schema.get("items", True), root) for one in value[len(fixed) :]]
        checks += [schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))]
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        checks += [fits(one, known.get(name, others), root) for name, one in value.items()]
        checks += [name in value for name in schema.get("required", [])]
    return all(checks)


@pytest.fixture(scope="module")
def bytes_model(tiny: Path) -> Iterator[LlamaModel]:
    """A vocabulary of single bytes: a text can go wherever its grammar does."""
    with LlamaModel(tiny) as model:
        yield model


def wander(model: LlamaModel, grammar: str, rng: random.Random) -> str | None:
    """A text that follows the grammar, or None when it gets long; brackets and quotes are soon closed."""
    end = model.end_tokens[0]
    tokens = np.array([*range(128), end])
    text = ""
    with Grammar(model, grammar) as follows:
        for _ in range(600):
            admitted = follows.admitted(tokens, np.ones(len(tokens), np.float32)).tolist()
            closing = [token for token in admitted if token == end or chr(token) in '"}]']
            token = rng.choice(closing if closing and rng.random() < 0.4 else admitted)
            if token == end:
                return text
            follows.accept(token)
            text += chr(token)
    return None


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_every_text_of_the_grammar_is_json_that_fits(bytes_model: LlamaModel, schema: Any) -> None:
    rng = random.Random(3)
    grammar = json_schema_to_gbnf(schema)
    assert grammar == json_schema_to_gbnf(json.dumps(schema))
    texts = [text for text in (wander(bytes_model, grammar, rng) for _ in range(12)) if text is not None]
    assert len(texts) >= 6
    for text in texts:
        assert fits(json.loads(text), schema, schema), text


@pytest.mark.parametrize(("schema", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_no_grammar_keeps_is_refused_in_a_line(schema: Any, words: str) -> None:
    with pytest.raises(InvalidSampling) as refused:
        json_schema_to_gbnf(schema)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


KEYWORDS = sorted({name for schema, _ in REFUSED if isinstance(schema, dict) for name in schema})
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats()
    | st.sampled_from(["a", "#", "integer", "type", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "$ref", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.data())
@hypothesis_settings(max_examples=400)
def test_any_schema_is_taken_or_refused(data: st.DataObject) -> None:
    schema = json.loads(json.dumps(data.draw(st.sampled_from([one for one in SCHEMAS if isinstance(one, dict)]))))
    place: Any = schema
    for _ in range(data.draw(st.integers(0, 4))):
        inner = [one for one in (place.values() if isinstance(place, dict) else place) if isinstance(one, dict | list)]
        place = data.draw(st.sampled_from(inner)) if inner else place
    key = data.draw(st.sampled_from([*place, *KEYWORDS])) if isinstance(place, dict) else 0
    if isinstance(place, dict) or place:
        place[key] = data.draw(JSON)
    try:
        json_schema_to_gbnf(schema)
    except InvalidSampling:
        return


def test_long_texts_and_lists_are_counted_to_the_end(bytes_model: LlamaModel) -> None:
    with Grammar(bytes_model, json_schema_to_gbnf({"type": "string", "minLength": 2100, "maxLength": 3500})) as grammar:
        grammar.accept(ord('"'))
        for count in range(3500):
            assert grammar.admits(ord('"')) == (count >= 2100)
            grammar.accept(ord("x"))
        assert not grammar.admits(ord("x"))
        assert grammar.admits(ord('"'))


@pytest.mark.parametrize("seed", range(2))
def test_a_model_that_is_forced_answers_in_json_that_fits(smollm2: Path, seed: int) -> None:
    with LlamaModel(smollm2) as model:
        prompt = chat_prompt(model, [Message("user", "Describe Anna, who is 31 years old, in JSON.")])
        sampling = Sampling(temperature=1.0, seed=seed, max_tokens=400, grammar=json_schema_to_gbnf(PERSON))
        answer = Generator(model, prompt, sampling)
        text = "".join(answer)
    assert answer.result.finish_reason == "stop"
    assert fits(json.loads(text), PERSON, PERSON)
