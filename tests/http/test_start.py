"""A server that cannot start says why, before it loads anything."""

import socket
from pathlib import Path

import pytest
from serving import llstore

SERVE = ("serve", "a/b", "--port")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = llstore(tmp_path, *SERVE, str(port), check=False)
    assert (found.returncode, f"127.0.0.1:{port}: address already in use" in found.stderr) == (1, True)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("queue = 0\ndrain = 0", 3, "a/b"),
        ("queue = -1", 2, "serve.queue must be a number from 0 on, not -1"),
        ("idle_seconds = 0", 2, "serve.idle_seconds must be a number above 0, not 0"),
        ("nonsense = 1", 2, "[serve] is a table that may set"),
    ],
)
def test_settings_are_read_first(tmp_path: Path, text: str, code: int, said: str) -> None:
    config = tmp_path / "config" / "llstore.toml"
    config.parent.mkdir()
    config.write_text(f"[serve]\n{text}\n")
    found = llstore(tmp_path, *SERVE, "0", check=False)
    assert (found.returncode, said in found.stderr) == (code, True)
