"""`llstore key`: what a person does with keys, tenants and limits."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llstore.runner.tenants.keyfile import KeyFile
from llstore.runner.tenants.usage import UsageRow

Command = Callable[..., subprocess.CompletedProcess[str]]
Answer = Callable[..., Any]


@pytest.fixture
def answer(llstore: Command) -> Answer:
    """Runs `llstore key` with words that succeed, and gives its JSON."""

    def run(*words: str) -> Any:
        ran = llstore("key", *words, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


@pytest.fixture
def keys(home: Path) -> Path:
    return home / "data" / "keys.db"


def opens(keys: Path, text: str, *, later: float = 0.0) -> bool:
    with KeyFile(keys) as file:
        return file.load().find(text, time.time() + later) is not None


def test_a_new_key_stands_alone_on_stdout_and_opens(llstore: Command, keys: Path) -> None:
    ran = llstore("key", "create", "team-a")
    assert (ran.returncode, ran.stdout.count("\n")) == (0, 1)
    text = ran.stdout.strip()
    assert opens(keys, text)
    assert "only time" in ran.stderr
    assert text not in ran.stderr
    assert llstore("key", "create", "team-a", "--quiet").stderr == ""


def test_the_file_is_its_owners(llstore: Command, keys: Path) -> None:
    before = os.umask(0)
    try:
        llstore("key", "create", "team-a")
    finally:
        os.umask(before)
    assert keys.stat().st_mode & 0o777 == 0o600


def test_a_key_is_listed_without_its_secret(answer: Answer, llstore: Command) -> None:
    made = answer("create", "team-a", "--expires", "30d", "--note", "for CI", "--metrics")
    text = made.pop("key")
    assert {**made, "created_at": 0, "expires_at": 0} == {
        "id": text[8:20],
        "tenant": "team-a",
        "created_at": 0,
        "expires_at": 0,
        "metrics": True,
        "note": "for CI",
        "replaced_by": None,
    }
    made_at, ends_at = (datetime.fromisoformat(made[key]) for key in ("created_at", "expires_at"))
    assert ends_at - made_at == timedelta(days=30)
    assert answer("list") == {"keys": [{**made, "state": "open"}]}
    shown = llstore("key", "list").stdout
    assert all(word in shown for word in (made["id"], "team-a", "open", "metrics", "for CI", made["expires_at"]))
    assert text[21:] not in shown


def test_no_keys_no_tenants_and_no_usage_are_said(llstore: Command) -> None:
    for word, said in (("list", "no keys"), ("limits", "no tenants"), ("usage", "nothing was used")):
        ran = llstore("key", word)
        assert (ran.returncode, ran.stdout) == (0, "")
        assert said in ran.stderr


def test_a_disabled_key_opens_nothing(answer: Answer, llstore: Command, keys: Path) -> None:
    made = answer("create", "team-a")
    ran = llstore("key", "disable", made["id"])
    assert (ran.returncode, ran.stdout) == (0, f"{made['id']}\n")
    assert not opens(keys, made["key"])
    assert answer("list")["keys"][0]["state"] == "disabled"
    # Again, by the whole key, as it was found in a log.
    again = answer("disable", made["key"])
    assert again == {"id": made["id"], "tenant": "team-a", "disabled": True, "was_disabled": True}


def test_a_rotated_key_goes_on_for_its_grace(answer: Answer, llstore: Command, keys: Path) -> None:
    old = answer("create", "team-a")
    ran = llstore("key", "rotate", old["id"], "--grace", "1h")
    assert ran.returncode == 0
    assert old["id"] in ran.stderr
    new = ran.stdout.strip()
    assert opens(keys, new)
    assert opens(keys, old["key"])
    assert opens(keys, new, later=3700)
    assert not opens(keys, old["key"], later=3700)
    again = answer("rotate", new[8:20])
    assert again["replaces"]["id"] == new[8:20]
    assert not opens(keys, new)
    assert llstore("key", "rotate", old["id"]).returncode == 2


def test_limits_are_set_with_a_key_changed_and_shown(answer: Answer, llstore: Command) -> None:
    answer("create", "team-b")
    answer("create", "team-a", "--model", "t/t", "--model", "u/u", "--rpm", "60", "--tpm", "1000", "--share", "2.5")
    team_a = {
        "tenant": "team-a",
        "models": ["t/t", "u/u"],
        "requests_per_minute": 60,
        "tokens_per_minute": 1000,
        "concurrency": None,
        "priority": 0,
        "share": 2.5,
    }
    assert answer("limits", "team-a") == {"tenants": [team_a]}
    changed = {**team_a, "models": [], "requests_per_minute": None, "concurrency": 4, "priority": -3}
    flags = ("--all-models", "--rpm", "0", "--concurrency", "4", "--priority", "-3")
    assert answer("limits", "team-a", *flags) == {"tenants": [changed]}
    assert [tenant["tenant"] for tenant in answer("limits")["tenants"]] == ["team-a", "team-b"]
    shown = llstore("key", "limits").stdout
    assert all(word in shown for word in ("team-a", "team-b", "1000", "-3", "2.5", "all"))


def test_usage_is_shown_by_day_tenant_and_model(answer: Answer, llstore: Command, keys: Path) -> None:
    answer("create", "team-c")
    rows = [UsageRow("team-a", "sha256:" + "ab" * 32, "2026-01-31", 3, 1200, 200, 77), UsageRow("b", "m", "2026-02-01")]
    with KeyFile(keys) as file:
        file.add_usage(rows)
    found = answer("usage")["usage"]
    assert [row["tenant"] for row in found] == ["team-a", "b"]
    assert answer("usage", "--tenant", "team-a")["usage"] == found[:1]
    assert found[0] == {
        "tenant": "team-a",
        "model": "sha256:" + "ab" * 32,
        "day": "2026-01-31",
        "requests": 3,
        "prompt_tokens": 1200,
        "reused_tokens": 200,
        "completion_tokens": 77,
    }
    shown = llstore("key", "usage").stdout
    assert all(word in shown for word in ("2026-01-31", "team-a", "abababababab", "1200", "200", "77"))
    assert answer("usage", "--tenant", "team-c") == {"usage": []}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create", "Team A"], 2, "not a tenant's name"),
        (["create", "t", "--rpm", "-1"], 2, "requests_per_minute"),
        (["create", "t", "--tpm", "9" * 30], 2, "tokens_per_minute"),
        (["create", "t", "--share", "nan"], 2, "share"),
        (["create", "t", "--priority", "101"], 2, "priority"),
        (["create", "t", "--model", "nothing"], 2, "a model of t"),
        (["create", "t", "--model", "t/t", "--all-models"], 2, "--all-models"),
        (["create", "t", "--expires", "soon"], 2, "--expires"),
        (["create", "t", "--expires", "0"], 2, "expires"),
        (["create", "t", "--expires", "9" * 20 + "w"], 2, "expires"),
        (["create", "t", "--note", "a\tb"], 2, "note"),
        (["rotate", "a" * 12], 3, "no key has the id"),
        (["rotate", "a" * 12, "--grace", "1"], 2, "--grace"),
        (["disable", "a" * 12], 3, "no key has the id"),
        (["disable", "nothing"], 3, "no key's id"),
        (["limits", "nobody"], 3, "no tenant"),
        (["limits", "nobody", "--rpm", "5"], 3, "no tenant"),
        (["limits", "--rpm", "5"], 2, "name the tenant"),
        (["usage", "--tenant", "nobody"], 3, "no tenant"),
        (["create"], 2, "TENANT"),
    ],
)
def test_what_cannot_be_is_one_line_and_its_code(llstore: Command, words: list[str], code: int, said: str) -> None:
    ran = llstore("key", *words)
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (code, "", 1)
    assert said in ran.stderr


def test_a_damaged_file_is_an_error_and_stays(llstore: Command, keys: Path) -> None:
    keys.parent.mkdir(parents=True, exist_ok=True)
    keys.write_bytes(b"")
    ran = llstore("key", "create", "t", "--json")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1)
    assert json.loads(ran.stdout)["error"]["kind"] == "key_file_damaged"
    assert keys.read_bytes() == b""


def test_two_commands_at_once_lose_nothing(llstore: Command, answer: Answer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: llstore("key", "create", f"team-{n % 3}"), range(12)))
    assert {ran.returncode for ran in made} == {0}
    assert {key["id"] for key in answer("list")["keys"]} == {ran.stdout[8:20] for ran in made}
    assert len(answer("limits")["tenants"]) == 3
