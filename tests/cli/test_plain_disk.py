"""On a file system without hard links, modes and folders that can be made durable, everything works but `--link`."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import shim

pytestmark = pytest.mark.skipif(bool(shim.unavailable()), reason=shim.unavailable() or "there is one")

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, str]:
    cannot = ("link", "chmod", "fsync")
    return shim.environment(tmp_path, root=tmp_path, at=1, times=0, action="unable", ops=cannot)


@pytest.mark.parametrize("store", ["embedded", "folder"])
def test_a_model_goes_in_and_out(
    llstore: Command, plain: dict[str, str], tiny: Path, tmp_path: Path, store: str
) -> None:
    (tmp_path / "bucket").mkdir()
    where = {"LLSTORE_STORE": (tmp_path / "bucket").as_uri()} if store == "folder" else {}
    for words in (
        ("put", tiny, "--name", "t/t"),
        ("get", "t/t", "-o", tmp_path / "got.gguf"),
        ("export", "t/t", "-o", tmp_path / "bundle.tar"),
        ("rm", "t/t", "--force"),
        ("gc", "--grace", "0"),
    ):
        ran = llstore(*words, **where, **plain)
        assert (ran.returncode, "operation not permitted" in ran.stderr) == (0, False), ran.stderr
    assert (tmp_path / "got.gguf").read_bytes() == tiny.read_bytes()


def test_a_file_that_is_there_is_kept_and_a_link_refused(
    llstore: Command, plain: dict[str, str], tiny: Path, tmp_path: Path
) -> None:
    llstore("put", tiny, "--name", "t/t")
    target = tmp_path / "got.gguf"
    target.write_text("mine")
    ran = llstore("get", "t/t", "-o", target, **plain)
    assert (ran.returncode, target.read_text()) == (1, "mine")
    assert "exists and was kept" in ran.stderr
    ran = llstore("get", "t/t", "-o", tmp_path / "linked.gguf", "--link", **plain)
    assert ran.returncode == 1
    assert ran.stderr.endswith("linked.gguf: its file system has no hard links (leave out --link)\n")
