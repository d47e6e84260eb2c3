"""A server that cannot start says why, before it loads anything; one that starts answers a prompt of nobody's first."""

import re
import socket
from pathlib import Path

import pytest
from serving import llstore, serving

from llstore.runner.serve.warm_up import PROMPT

SERVE = ("serve", "a/b", "--port")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = llstore(tmp_path, *SERVE, str(port), check=False)
    assert (found.returncode, f"127.0.0.1:{port}: address already in use" in found.stderr) == (1, True)


def test_hosts_are_names_or_addresses(tmp_path: Path) -> None:
    for host in ("Models.Example", "a_b", "::1", "10.0.0.1", "*"):
        assert llstore(tmp_path, *SERVE, "0", "--allow-host", host, check=False).returncode == 3, host
    for wrong in ("http://foo/", "foo:80", "foo/bar", "a b", "", ":", "föö", "abc:80"):
        found = llstore(tmp_path, *SERVE, "0", "--allow-host", wrong, check=False)
        assert (found.returncode, "is not a host's name" in found.stderr) == (2, True), wrong


def test_a_wrong_flag_points_at_the_help_of_its_command(tmp_path: Path) -> None:
    for words, said in (((*SERVE, "x"), "llstore serve --help"), (("key", "create"), "llstore key create --help")):
        found = llstore(tmp_path, *words, check=False)
        assert (found.returncode, said in found.stderr) == (2, True), found.stderr


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("queue = 0\ndrain = 0", 3, "a/b"),
        ("queue = -1", 2, "serve.queue must be a number from 0 on, not -1"),
        ("idle_seconds = 0", 2, "serve.idle_seconds must be a number above 0, not 0"),
        ('hosts = ["http://models.example/"]', 2, "'http://models.example/' is not a host's name"),
        ("nonsense = 1", 2, "[serve] is a table that may set"),
    ],
)
def test_settings_are_read_first(tmp_path: Path, text: str, code: int, said: str) -> None:
    config = tmp_path / "config" / "llstore.toml"
    config.parent.mkdir()
    config.write_text(f"[serve]\n{text}\n")
    found = llstore(tmp_path, *SERVE, "0", check=False)
    assert (found.returncode, said in found.stderr) == (code, True)


def test_the_first_prompt_counts_for_nobody_and_is_reused_by_nobody(tiny: Path, tmp_path: Path) -> None:
    with serving(tmp_path, tiny, "--ctx", "256", "--parallel", "2") as server, server.client() as client:
        metrics = client.get("/metrics").text
        assert not re.findall(r"^llstore:(?:prompt|generation)_tokens_total\S* [^0]", metrics, re.MULTILINE)
        assert not [line for line in server.events("request") if "prompt_tokens" in line]
        # The same tokens again, all that the vocabulary can have of them.
        prompt = [1 + number * 7 % 260 for number in range(PROMPT)]
        usage = client.post("/v1/completions", json={"prompt": prompt, "max_tokens": 1}).json()["usage"]
        assert usage["prompt_tokens"] == PROMPT
        assert not usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
