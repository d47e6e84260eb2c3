"""The file of keys: what is kept of a secret, who may read it, and several processes at once."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from steps import calls

from llstore.runner.errors import (
    KeyFileDamaged,
)
from llstore.runner.tenants.key import Terms
from llstore.runner.tenants.keyfile import KeyFile
from llstore.runner.tenants.tenant import Changes
from llstore.runner.tenants.usage import UsageRow
from llstore.store.errors import DiskError, FormatTooNew

NOW = 1_800_000_000.0
MODEL = "sha256:" + "ab" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys.db"


@pytest.fixture
def file(path: Path) -> Iterator[KeyFile]:
    with KeyFile(path) as file:
        yield file


def test_the_secret_is_nowhere_in_the_files(path: Path) -> None:
    with KeyFile(path) as file:
        issued = [file.create("t", now=NOW, terms=Terms(note="a note")), file.create("t", now=NOW)]
        issued.append(file.rotate(issued[0].key.id, now=NOW))
        file.load().find(issued[0].text, NOW)
        files = {found.name: found.read_bytes() for found in path.parent.iterdir()}
        assert {"keys.db", "keys.db-wal"} <= set(files)
        everything = b"".join(files.values())
    everything += path.read_bytes()
    assert b"a note" in everything
    for key in issued:
        secret = key.text.split("-")[2]
        assert key.key.id.encode() in everything
        assert secret.encode() not in everything
        assert bytes.fromhex(secret) not in everything
        assert secret not in repr(key)


def test_a_disk_without_links_takes_the_file_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with KeyFile(path) as file:
        file.create("t", now=NOW)
    monkeypatch.undo()
    assert [found.name for found in path.parent.iterdir()] == ["keys.db"]
    with KeyFile(path) as file:
        assert len(file.keys()) == 1


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_the_file_is_its_owners_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with KeyFile(tmp_path / "keys.db") as file:
            file.create("t", now=NOW)
            modes = {found.name: found.stat().st_mode & 0o777 for found in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("keys.db", "keys.db-wal", "keys.db-shm"), 0o600)


def test_nothing_else_is_left_beside_the_file(path: Path) -> None:
    with KeyFile(path) as file:
        file.create("t", now=NOW)
    assert [found.name for found in path.parent.iterdir()] == ["keys.db"]


def test_changes_by_this_and_by_others_are_noticed(path: Path) -> None:
    with KeyFile(path) as server, KeyFile(path) as other:
        assert server.changed()
        server.load()
        assert not server.changed()
        issued = other.create("t", now=NOW)
        assert server.changed()
        assert server.changed()
        assert server.load().find(issued.text, NOW)
        assert not server.changed()
        for change in (
            lambda: server.create("t", now=NOW),
            lambda: server.disable(issued.key.id),
            lambda: other.set_tenant("t", Changes(priority=1)),
        ):
            change()
            assert server.changed()
            server.load()
        other.keys()
        server.add_usage([UsageRow("t", MODEL, "2026-01-31")])
        assert not server.changed()


def test_asking_for_changes_is_cheap(file: KeyFile) -> None:
    file.load()
    assert calls(file.changed) < 20


WRITER = """
import sys
from pathlib import Path
from llstore.runner.tenants.keyfile import KeyFile
from llstore.runner.tenants.usage import UsageRow
for n in range(20):
    with KeyFile(Path(sys.argv[1])) as file:
        file.create(sys.argv[2], now=1.0)
        file.add_usage([UsageRow("shared", "m", "2026-01-31", 1, 10, 5, 2)])
"""


def test_two_processes_that_begin_and_write_at_once_lose_nothing(path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with KeyFile(path) as file:
        made = file.keys()
        assert sorted(key.tenant for key in made) == ["a"] * 20 + ["b"] * 20
        assert file.usage() == [UsageRow("shared", "m", "2026-01-31", 40, 400, 200, 80)]


def test_threads_share_a_file(file: KeyFile) -> None:
    threads = [
        threading.Thread(target=lambda: [file.create("t", now=NOW) and file.load() for _ in range(10)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(file.keys()) == 40


def test_what_a_writer_that_was_killed_began_did_not_happen(path: Path) -> None:
    with KeyFile(path) as file:
        file.create("t", now=NOW)
    code = (
        "import os, sys; from pathlib import Path; from llstore.runner.tenants.db import KeyDb\n"
        "with KeyDb(Path(sys.argv[1])).writing() as connection:\n"
        "    connection.execute('DELETE FROM keys')\n"
        "    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    with KeyFile(path) as file:
        assert len(file.keys()) == 1


def test_a_file_of_a_later_llstore_is_refused_and_kept(path: Path) -> None:
    KeyFile(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    with pytest.raises(FormatTooNew) as refused:
        KeyFile(path)
    assert "upgrade" in refused.value.hint
    assert path.read_bytes() == before


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "no table":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE usage")
            return
    spoilt = {
        "empty": b"",
        "text": b"not a database, but long enough to be looked at" * 10,
        "cut": data[: len(data) // 2],
        "zeroes": data[:4096] + bytes(len(data) - 4096),
        "head": bytes(100) + data[100:],
    }
    path.write_bytes(spoilt[how])


@pytest.mark.parametrize("how", ["empty", "text", "cut", "zeroes", "head", "no table"])
def test_a_damaged_file_is_an_error_and_is_never_rebuilt(path: Path, how: str) -> None:
    with KeyFile(path) as file:
        for name in ("a", "b", "c"):
            file.create(name, now=NOW)
    spoil(path, how)
    before = path.read_bytes()
    with pytest.raises(KeyFileDamaged, match=r"keys\.db") as refused:
        KeyFile(path)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tenants SET priority = 1000",
        "UPDATE tenants SET models = '{'",
        "UPDATE tenants SET models = '5'",
        "UPDATE keys SET tenant = 'gone'",
    ],
)
def test_rows_that_cannot_be_are_damage(path: Path, statement: str) -> None:
    with KeyFile(path) as file:
        file.create("t", now=NOW)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)
        with pytest.raises(KeyFileDamaged):
            file.load()


def test_a_folder_in_its_place_is_an_error(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(DiskError, match=r"keys\.db"):
        KeyFile(path)


def test_a_file_that_stays_locked_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llstore.runner.tenants.db._LOCK_SECONDS", 0.1)
    with KeyFile(path) as file, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DiskError, match="locked"):
            file.create("t", now=NOW)
        # Readers are not kept waiting.
        assert file.load().empty
