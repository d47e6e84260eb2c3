"""What goes wrong with a transfer or the cache: one line on stderr, the right exit code, nothing lost."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from llstore.store import Digest, Role
from llstore.store.backends import open_backend
from llstore.store.blocks import BLOCK_SIZE
from llstore.store.layout import blob_key, blocks_key, manifest_key

Command = Callable[..., subprocess.CompletedProcess[str]]
Put = Callable[..., str]
DATA = os.urandom(2 * BLOCK_SIZE + 999)
DIGEST = Digest.of(DATA)


@pytest.fixture
def stored(put: Put, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "file").write_bytes(DATA)
    monkeypatch.setenv("LLSTORE_STORE", bucket)
    put(tmp_path / "file", role=Role.OTHER, url=bucket)
    return bucket


def refused(answer: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert (answer.returncode, answer.stdout) == (code, "")
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    for word in words:
        assert word in answer.stderr


def fetched(answer: subprocess.CompletedProcess[str]) -> int:
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert Path(document["path"]).read_bytes() == DATA
    return int(document["fetched_bytes"])


def test_a_budget_smaller_than_the_blob(llstore: Command, stored: str, home: Path) -> None:
    answer = llstore("get", DIGEST.hex, LLSTORE_CACHE_MAX_BYTES="10MB")
    refused(answer, 6, "no room for 16.8 MB", "budget of 10.0 MB", "cache.max_bytes")
    assert not [path for path in (home / "cache").rglob("*") if path.is_file() and path.stat().st_size > 100_000]


def test_a_budget_that_is_none(llstore: Command, stored: str) -> None:
    refused(llstore("get", DIGEST.hex, LLSTORE_CACHE_MAX_BYTES="lots"), 2, "LLSTORE_CACHE_MAX_BYTES", "50GB")
    refused(llstore("get", DIGEST.hex, LLSTORE_TRANSFER_CONNECTIONS="0"), 2, "LLSTORE_TRANSFER_CONNECTIONS")
    refused(llstore("get", DIGEST.hex, LLSTORE_TRANSFER_TIMEOUT="soon"), 2, "LLSTORE_TRANSFER_TIMEOUT")


def test_what_is_pinned_is_not_evicted_and_named(llstore: Command, stored: str, tmp_path: Path) -> None:
    assert llstore("get", DIGEST.hex).returncode == 0
    assert llstore("cache", "pin", DIGEST.hex).returncode == 0
    (tmp_path / "other").write_bytes(os.urandom(9_000_000))
    other = llstore("put", tmp_path / "other", "--role", "other").stdout.strip()
    refused(llstore("get", other, LLSTORE_CACHE_MAX_BYTES="20MB"), 6, "pinned 16.8 MB")
    assert fetched(llstore("get", DIGEST.hex, "--json")) == 0
    assert llstore("cache", "unpin", DIGEST.hex).returncode == 0
    assert llstore("get", other, LLSTORE_CACHE_MAX_BYTES="20MB").returncode == 0
    assert fetched(llstore("get", DIGEST.hex, "--json")) == len(DATA)


@pytest.mark.parametrize("content", [os.urandom(len(DATA)), b"", DATA[:BLOCK_SIZE] + bytes(len(DATA) - BLOCK_SIZE)])
def test_a_part_file_of_another_blob_under_this_name(llstore: Command, stored: str, home: Path, content: bytes) -> None:
    partial = home / "cache/partial"
    partial.mkdir(parents=True)
    (partial / f"{DIGEST.hex}.00000000-1-1.abcd.part").write_bytes(content)
    os.utime(partial / f"{DIGEST.hex}.00000000-1-1.abcd.part", (0, 0))
    right = BLOCK_SIZE if content[:BLOCK_SIZE] == DATA[:BLOCK_SIZE] else 0
    assert fetched(llstore("get", DIGEST.hex, "--json")) == len(DATA) - right


@pytest.mark.parametrize("change", ["flipped", "cut", "gone"])
def test_a_block_list_that_does_not_match(llstore: Command, stored: str, home: Path, change: str) -> None:
    with closing(open_backend(stored)) as backend:
        listed = bytearray(b"".join(backend.read(blocks_key(DIGEST))))
        listed[50] ^= 1
        backend.delete(blocks_key(DIGEST))
        if change != "gone":
            wrong = bytes(listed if change == "flipped" else listed[:-7])
            backend.write(blocks_key(DIGEST), [wrong], size=len(wrong))
    answer = llstore("get", DIGEST.hex, "--json")
    assert fetched(answer) == len(DATA)
    assert "the block list of" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert llstore("fsck", "--full").returncode == 0


def test_a_block_list_that_its_manifest_names_and_that_is_wrong(llstore: Command, stored: str) -> None:
    """SHA-256 rules: the bytes are taken, and the list is made anew."""
    with closing(open_backend(stored)) as backend:
        listed = bytearray(b"".join(backend.read(blocks_key(DIGEST))))
        listed[-1] ^= 1
        manifest = b"".join(backend.read(manifest_key(DIGEST)))
        named = json.loads(manifest)["files"][0]["blocks"]
        manifest = manifest.replace(named.encode(), str(Digest.of(bytes(listed))).encode())
        for key, data in ((blocks_key(DIGEST), bytes(listed)), (manifest_key(DIGEST), manifest)):
            backend.write(key, [data], size=len(data))
    answer = llstore("get", DIGEST.hex, "--json")
    assert fetched(answer) == len(DATA) + 4 * 999, "the block that was refused came five times"
    assert "was wrong at block 2, its SHA-256 is right: the list was made anew here" in answer.stderr
    assert llstore("fsck", "--full").returncode == 0


def test_an_object_that_was_swapped(llstore: Command, stored: str, home: Path) -> None:
    other = os.urandom(len(DATA))
    with closing(open_backend(stored)) as backend:
        backend.write(blob_key(DIGEST), [other], size=len(other))
    refused(llstore("get", DIGEST.hex), 4, "holds wrong bytes", Digest.of(other).hex, "first wrong block is")
    assert not [path for path in (home / "cache").rglob("*") if path.is_file() and path.stat().st_size > 100_000]


def test_a_cache_database_that_is_damaged_or_locked(llstore: Command, stored: str, home: Path) -> None:
    assert llstore("get", DIGEST.hex).returncode == 0
    assert llstore("cache", "pin", DIGEST.hex).returncode == 0
    database = home / "cache/cache.db"
    database.write_bytes(b"no database at all" * 100)
    assert fetched(llstore("get", DIGEST.hex, "--json")) == 0
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert fetched(llstore("get", DIGEST.hex, "--json")) == 0
    pinned = json.loads(llstore("cache", "list", "--json").stdout)["blobs"]
    assert [blob["pinned"] for blob in pinned] == [True]


def test_a_damaged_file_in_the_cache_and_in_the_store(llstore: Command, stored: str, home: Path) -> None:
    path = Path(llstore("get", DIGEST.hex).stdout.strip())
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"damage")
    answer = llstore("fsck", "--full")
    assert (answer.returncode, len(answer.stdout.splitlines())) == (4, 1)
    assert json.loads(llstore("fsck", "--full", "--repair", "--json").stdout)["bytes_fetched"] == BLOCK_SIZE
    assert llstore("fsck", "--full", "--bucket").returncode == 0
    with closing(open_backend(stored)) as backend:
        backend.delete(blob_key(DIGEST))
    ends = ((4, "something is wrong (llstore fsck --repair mends what it can)", ()), (0, "is mended", ("--repair",)))
    for code, said, repair in ends:
        answer = llstore("fsck", "--bucket", *repair)
        assert answer.returncode == code
        assert answer.stderr.endswith(f"{said}\n")
    assert llstore("fsck", "--full", "--bucket").returncode == 0


def test_damage_that_a_get_finds_is_said_and_offline_is_damage_too(llstore: Command, stored: str) -> None:
    path = Path(llstore("get", DIGEST.hex).stdout.strip())
    for words, code in (((), 0), (("--offline",), 4)):
        path.chmod(0o644)
        path.write_bytes(DATA[:-1] + b"?")
        answer = llstore("get", DIGEST.hex, *words)
        assert answer.returncode == code
        assert "was damaged on this machine" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
    refused(llstore("get", DIGEST.hex, "--offline"), 3, "is not on this machine")


def test_damaged_files_that_were_set_aside_are_counted_and_removed_on_demand(llstore: Command, stored: str) -> None:
    path = Path(llstore("get", DIGEST.hex).stdout.strip())
    path.chmod(0o644)
    path.write_bytes(bytes(len(DATA)))
    budget = {"LLSTORE_CACHE_MAX_BYTES": "20MB"}
    words = ("quarantine 16.8 MB", "llstore cache prune --quarantine")
    refused(llstore("get", DIGEST.hex, "--quiet", **budget), 6, *words)
    assert json.loads(llstore("cache", "prune", "--all", "--json").stdout)["quarantine_bytes"] == 0
    tried = json.loads(llstore("cache", "prune", "--quarantine", "--dry-run", "--json").stdout)
    assert tried["quarantine_bytes"] == tried["freed_bytes"] == len(DATA)
    refused(llstore("get", DIGEST.hex, **budget), 6)
    assert llstore("cache", "prune", "--quarantine").returncode == 0
    assert fetched(llstore("get", DIGEST.hex, "--json", **budget)) == len(DATA)


def test_a_store_is_not_checked_offline(llstore: Command, stored: str) -> None:
    refused(llstore("fsck", "--bucket", "--offline"), 5, "offline")
    assert llstore("fsck", "--offline").returncode == 0


def test_a_put_that_verified_says_so(llstore: Command, stored: str, tmp_path: Path) -> None:
    answer = llstore("put", tmp_path / "file", "--role", "other", "--verify")
    assert "already stored, every block read back" in answer.stderr


@pytest.mark.parametrize("sample", ["-1%", "101%", "some", "%"])
def test_a_sample_that_is_none(llstore: Command, sample: str) -> None:
    refused(llstore("fsck", f"--sample={sample}"), 2, "--sample")


def test_a_put_to_a_mirror(llstore: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    refused(llstore("put", tmp_path / "file", "--role", "other", "--store", "http://127.0.0.1:1/x?token=secret"), 5)
