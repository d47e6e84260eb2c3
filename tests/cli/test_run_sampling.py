"""`run` with settings of the choice of tokens: they work, a replay keeps them, and mistakes are said in a line."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
Put = Callable[..., str]


@pytest.fixture
def model(put: Put, tiny: Path) -> str:
    put(tiny, name="t/t")
    return "t/t"


def test_a_schema_forces_the_answer_and_a_replay_forces_it_again(llstore: Command, model: str, tmp_path: Path) -> None:
    schema = '{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}'
    (tmp_path / "schema.json").write_text(schema)
    flags = ("--temperature", "1", "--seed", "3", "--repeat-penalty", "1.2", "--logit-bias", "120=2.5")
    texts = [
        llstore("run", model, "-p", "hi", *flags, "--json-schema", given, "--receipt", "receipt.json").stdout
        for given in (schema, "schema.json")
    ]
    assert texts[0] == texts[1]
    assert set(json.loads(texts[0])) == {"ok"}
    recorded = json.loads((tmp_path / "receipt.json").read_text())["sampling"]
    assert recorded["repeat_penalty"] == 1.2
    assert recorded["logit_bias"] == [[120, 2.5]]
    assert "root ::=" in recorded["grammar"]
    assert llstore("replay", "receipt.json").returncode == 0


def test_a_stop_token_ends_the_answer_before_it(llstore: Command, model: str, tmp_path: Path) -> None:
    (tmp_path / "abc.gbnf").write_text('root ::= "abc" [x-z]*')
    answer = llstore("run", model, "-p", "hi", "--grammar", "abc.gbnf", "--stop-token", str(ord("c")), "--json")
    document = json.loads(answer.stdout)
    assert (document["text"], document["completion_tokens"], document["finish_reason"]) == ("ab", 2, "stop")


def test_the_end_is_ignored_until_the_limit(llstore: Command, model: str) -> None:
    answer = llstore("run", model, "-p", "hi", "--ignore-eos", "--logit-bias", "258=100", "--max-tokens", "9", "--json")
    assert json.loads(answer.stdout)["finish_reason"] == "length"
    answer = llstore("run", model, "-p", "hi", "--logit-bias", "258=100", "--max-tokens", "9", "--json")
    assert json.loads(answer.stdout)["completion_tokens"] == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--typical-p", "2"), "typical_p"),
        (("--repeat-penalty", "0"), "repeat_penalty"),
        (("--seed", "4294967295"), "seed is 4294967295"),
        (("--logit-bias", "x"), "TOKEN=BIAS"),
        (("--logit-bias", "1=nan"), "logit_bias"),
        (("--logit-bias", "999999=1"), "999999"),
        (("--stop-token", "-1"), "stop_tokens"),
        (("--stop", "x" * 70_000), "65536"),
        (("--grammar", "."), "is a directory"),
        (("--grammar", "broken.gbnf"), "line 1"),
        (("--grammar", "binary.gbnf"), "not UTF-8"),
        (("--json-schema", '{"type": "text"}'), "'text'"),
        (("--json-schema", "{"), "not JSON"),
        (("--grammar", "broken.gbnf", "--json-schema", "{}"), "exclude"),
        (("--grammar", "sound.gbnf", "--ignore-eos"), "ignore_eos"),
    ],
)
def test_a_setting_that_cannot_be_is_said_in_a_line(
    llstore: Command, model: str, tmp_path: Path, flags: tuple[str, ...], words: str
) -> None:
    (tmp_path / "broken.gbnf").write_text("root = 1")
    (tmp_path / "sound.gbnf").write_text('root ::= "a"')
    (tmp_path / "binary.gbnf").write_bytes(b"root ::= \xff")
    answer = llstore("run", model, "-p", "hi", *flags)
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert words in answer.stderr
    assert answer.stdout == ""
