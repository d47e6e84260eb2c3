"""Grammars: what llama.cpp can follow is taken, the rest is refused in one line, and nothing ends the process."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from steps import calls

from llstore.runner import DecodeFailed, InvalidSampling, Sampling
from llstore.runner.grammar import check_grammar
from llstore.runner.llama import LlamaModel
from llstore.runner.llama.grammar import Grammar

MOST_CALLS = 2_000_000  # half a second's worth of work

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws   # what follows is space

array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
SOUND = [
    JSON,
    "root ::= ",
    'root ::= ""',
    'root ::= [^\\n]+ | . a-b\r\na-b ::= "é🎓\\u00e9\\U0001F393\\x41\\]\\[\\-" [a\\-z-] [-a]',
    'root ::= "a"{3} "b"{2,} "c"{0,4} "d"{0,0} "e"{ 1 , 2 }',
    'root ::= para*\npara ::= sentence*\nsentence ::= [a-z]+ ". "',
    'root ::= root-1\nroot-1 ::= "x" root-1 | "y"',
    'root ::= "a"\nroot ::= "b"',
    "root ::= " + "(" * 100 + '"x"' + ")" * 100,
    "root ::= " + " | ".join(f'"w{n}"' for n in range(5000)),
    'root ::= "x"{0,2000}',
    'root ::= ("a"*)*',
    'root ::= ("a"{1000}){1000}',
]
HOSTILE = [
    ("", "GBNF"),
    (" \n", "GBNF"),
    ("root", "line 1: expected ::="),
    ("root ::= a", "a rule 'a' that it does not have"),
    ('a ::= "x"', "no rule 'root'"),
    ('root ::= "x', "line 1: expected another character, found the end"),
    ('root ::= "a"\nb ::= "\\q"', r"line 2: expected an escape"),
    ('root ::= "\\x4"', "escape"),
    ("root ::= [a", "another character"),
    ("root ::= []", "between"),
    ("root ::= [z-a]", "a range of characters that ends before it begins"),
    (r"root ::= [\u0041-\x40]", "a range of characters that ends before it begins"),
    ("root ::= (", "expected )"),
    ("root ::= )", "end of the line"),
    ("root ::= a_b", "end of the line"),
    ("root ::= *", "nothing to repeat"),
    ('root ::= ""*', "nothing to repeat"),
    ('root ::= "a"{5,2}', "ends before it begins"),
    ('root ::= "a"{99999999999999999999}', "2000 are the most"),
    ('root ::= "a"{0,2001}', "2000 are the most"),
    ('root ::= (("a"{0,1000}){1000})', "nested repetitions"),
    ('root ::= "' + "x" * 100_000 + '"{2000}', "too large"),
    ("root ::= <think>", "not supported"),
    ("root ::= !<[5]>", "not supported"),
    ('root ::= root "x" | "y"', "'root' begins with itself"),
    ('root ::= a\na ::= b\nb ::= a "x" | "y"', "begins with itself"),
    ('root ::= ("a" | )*', "begins with itself"),
    # llama.cpp does not see this one, and takes memory until there is none.
    ('root ::= a\na ::= b a "x" | "y"\nb ::= c\nc ::= | "z"', "'a' begins with itself"),
    ("root ::= " + "(" * 101 + '"x"' + ")" * 101, "nested more than 100"),
    ("root ::= " + "(" * 100_000, "nested more than 100"),
    ("root ::= a0\n" + "".join(f"a{n} ::= a{n + 1}\n" for n in range(9999)) + 'a9999 ::= "x"', "too ambiguous"),
    ("root ::= a0\n" + "".join(f'a{n} ::= a{n + 1} "y" | a{n + 1} "z"\n' for n in range(60)) + 'a60 ::= "x"', "too am"),
    ("root ::= a0\n" + "".join(f"a{n} ::= a{n + 1} | a{n + 1}\n" for n in range(60)) + 'a60 ::= "x"', "too ambiguous"),
    ('root ::= "' + "x" * 2**20 + '"', "262144 are the most"),
    ('root ::= "\0"', "NUL"),
    ('root ::= "\ud800"', "UTF-8"),
]


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[LlamaModel]:
    with LlamaModel(smollm2) as model:
        yield model


@pytest.mark.parametrize("text", SOUND)
def test_a_sound_grammar_is_one_to_llama_cpp_too(model: LlamaModel, text: str) -> None:
    check_grammar(text)
    Grammar(model, text).close()


@pytest.mark.parametrize(("text", "words"), HOSTILE)
def test_what_llama_cpp_cannot_follow_is_refused_in_a_line_and_at_once(text: str, words: str) -> None:
    def refuse() -> None:
        with pytest.raises(InvalidSampling) as refused:
            Sampling(grammar=text)
        messages.append(str(refused.value))

    messages: list[str] = []
    assert calls(refuse) < MOST_CALLS
    (message,) = messages
    assert words in message
    assert "\n" not in message
    assert len(message) < 250


@pytest.mark.parametrize("text", [7, b"root ::= .", ["root"]])
def test_what_is_no_text_is_refused(text: object) -> None:
    with pytest.raises(InvalidSampling, match="must be a text"):
        Sampling(grammar=text)  # type: ignore[arg-type]


def test_a_grammar_leaves_the_end_to_itself() -> None:
    with pytest.raises(InvalidSampling, match="ignore_eos"):
        Sampling(grammar='root ::= "x"', ignore_eos=True)


def expression(rng: random.Random, depth: int = 3) -> str:
    """Something that may stand in a rule, now and then broken."""
    kind = rng.randint(0, 9 if depth else 4)
    if kind <= 4:
        return rng.choice(['"a"', '""', '"ab"', "[ab]", "[^a]", ".", "a", "b", "root", '"é"'])
    inner = [expression(rng, depth - 1) for _ in range(rng.randint(1, 3))]
    if kind <= 6:
        return " ".join(inner)
    if kind == 7:
        return "(" + " | ".join(inner) + rng.choice([")", ")", " | )"])
    return f"({' '.join(inner)}){rng.choice(['*', '+', '?', '{2}', '{0,3}', '{2,}', '{3,2}'])}"


def test_llama_cpp_takes_whatever_the_check_takes(smollm2: Path) -> None:
    """In another process, for a mistake would end it; and it must say nothing on stderr."""
    rng = random.Random(7)
    taken = []
    for _ in range(3000):
        text = "".join(f"{name} ::= {expression(rng)} | {expression(rng)}\n" for name in ("root", "a", "b"))
        try:
            check_grammar(text)
        except InvalidSampling:
            continue
        taken.append(text)
    assert 500 < len(taken) < 2900
    code = (
        "import sys, json\nfrom llstore.runner.llama import LlamaModel, Loading\n"
        "from llstore.runner.llama.grammar import Grammar\n"
        "with LlamaModel(__import__('pathlib').Path(sys.argv[1]), Loading(vocabulary_only=True)) as model:\n"
        "    for text in json.load(sys.stdin):\n"
        "        with Grammar(model, text) as grammar:\n"
        "            for token in [model.tokenize(c, add_special=False, parse_special=False)[0] for c in 'ab']:\n"
        "                if not grammar.admits(token): break\n"
        "                grammar.accept(token)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(smollm2)],
        input=json.dumps(taken),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@given(st.text(st.sampled_from('ab"[]()|*+?{}0123,. \n#\\x<>!:=-'), max_size=40))
@hypothesis_settings(max_examples=500)
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        check_grammar("root ::= " + text)
    except InvalidSampling:
        return


def test_a_token_that_does_not_follow_is_refused_and_the_process_lives(model: LlamaModel) -> None:
    (a,) = model.tokenize("a", add_special=False, parse_special=False)
    (b,) = model.tokenize("b", add_special=False, parse_special=False)
    with Grammar(model, 'root ::= "a"') as grammar:
        for token in (b, *model.end_tokens):
            assert not grammar.admits(token)
            with pytest.raises(DecodeFailed, match="does not follow"):
                grammar.accept(token)
        grammar.accept(a)
        assert all(grammar.admits(token) for token in model.end_tokens)
        with pytest.raises(DecodeFailed):
            grammar.accept(a)


def test_a_grammar_is_closed_with_its_model(smollm2: Path) -> None:
    with LlamaModel(smollm2) as model:
        grammar = Grammar(model, 'root ::= "a"')
    with pytest.raises(DecodeFailed, match="closed"):
        grammar.admits(1)
