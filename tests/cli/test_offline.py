"""Offline means offline: what is here is used, what is not is said, and no process so much as looks up a host."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import no_network
import pytest
from forked import Forks
from tiny import write_tiny

Command = Callable[..., subprocess.CompletedProcess[str]]
Put = Callable[..., str]


@pytest.fixture
def offline(  # noqa: PLR0913 (fixtures)
    llstore: Command, put: Put, tiny: Path, bucket: str, home: Path, tmp_path: Path
) -> Iterator[Command]:
    """The command on a machine that knows of two models in a bucket, has one of them, and may not touch the network."""
    online = {"LLSTORE_STORE": bucket}
    put(tiny, name="team/here", url=bucket)
    put(write_tiny(tmp_path / "t.gguf", seed=1), name="team/away", url=bucket)
    assert llstore("get", "team/here", **online).returncode == 0
    (tmp_path / "llstore.toml").write_text('[models]\nhere = "team/here"\n')
    assert llstore("lock", **online).returncode == 0
    cut = no_network.environment(tmp_path / "no-network", before=os.environ.get("PYTHONPATH", ""))
    fenced = {**os.environ, "LLSTORE_HOME": str(home), **online, "LLSTORE_OFFLINE": "1", **cut}
    with Forks(fenced) as forks:
        yield lambda *words, **more: forks.run(words, env={**fenced, **more}, cwd=tmp_path, timeout=120)


def test_the_guard_sees_a_command_that_goes_online(llstore: Command, bucket: str, tmp_path: Path) -> None:
    cut = no_network.environment(tmp_path / "no-network", before=os.environ.get("PYTHONPATH", ""))
    assert llstore("list", LLSTORE_STORE=bucket, **cut).returncode == 99


def test_what_is_here_is_used_without_the_network(offline: Command, tmp_path: Path) -> None:
    for words in (
        ("list", "--json"),
        ("list", "team/*", "--arch", "llama"),
        ("show", "team/away"),
        ("show", "team/here", "--tensors"),
        ("log", "team/here"),
        ("df",),
        ("diff", "team/here", "team/here"),
        ("get", "team/here"),
        ("fsck",),
        ("cache", "list"),
        ("run", "team/here", "-p", "hello", "--max-tokens", "2", "--receipt", "receipt.json"),
        ("replay", "receipt.json"),
        ("check", "team/here"),
        ("lock", "--check", "--current", "--json"),
        ("sync", "--frozen"),
        ("ci", "key"),
        ("export", "team/here", "-o", "here.tar"),
        ("doctor",),
    ):
        answer = offline(*words)
        assert answer.returncode == 0, (words, answer.stderr)
        assert answer.stdout or answer.stderr
    # Into the embedded store, which is on no network.
    assert offline("import", "here.tar", LLSTORE_STORE="").returncode == 0


REFUSED = {
    3: ["get team/away", "run team/away -p hello", "diff team/here team/away", "show team/away --tensors"],
    5: [
        *("put FILE", "tag team/here team/x", "untag team/here", "label team/here a=b", "rm team/here"),
        *("gc", "gc --dry-run", "df --bucket", "fsck --bucket", "reindex", "store snapshot", "store probe"),
        *("import hf://org/repo", "mirror STORE file:///nowhere --all"),
    ],
}


def test_what_needs_the_network_is_refused_in_one_line(offline: Command, tiny: Path, bucket: str) -> None:
    for code, commands in REFUSED.items():
        for command in commands:
            meant = {"FILE": str(tiny), "STORE": bucket}
            answer = offline(*(meant.get(word, word) for word in command.split()))
            assert (answer.returncode, answer.stdout) == (code, ""), (command, answer.stderr)
            assert len(answer.stderr.splitlines()) == 1, command
