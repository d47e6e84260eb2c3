"""Keys: what opens what, what is kept of a secret, and a file that several processes share."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llstore.runner.errors import (
    InvalidKey,
    InvalidTenant,
    KeyFileDamaged,
    NoSuchKey,
    NoSuchTenant,
    RunnerError,
)
from llstore.runner.tenants.key import Terms
from llstore.runner.tenants.keyfile import KeyFile
from llstore.runner.tenants.keyring import Access, Keyring
from llstore.runner.tenants.tenant import Changes, Tenant
from llstore.runner.tenants.usage import UsageRow, UsageTally, day_of
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


def test_a_key_opens_its_tenants_part(file: KeyFile) -> None:
    issued = file.create("team-a", now=NOW, changes=Changes(requests_per_minute=60, models=("t/t",)))
    access = file.load().find(issued.text, NOW)
    assert access == Access(Tenant("team-a", ("t/t",), requests_per_minute=60), issued.key.id, metrics=False)


def test_a_key_is_an_id_and_256_random_bits(file: KeyFile) -> None:
    texts = [file.create("t", now=NOW).text for _ in range(5)]
    parts = [text.split("-") for text in texts]
    assert {(word, len(id), len(bytes.fromhex(secret))) for word, id, secret in parts} == {("llstore", 12, 32)}
    assert len({id for _, id, _ in parts}) == len({secret for *_, secret in parts}) == 5


def other_letter(letter: str) -> str:
    return "a" if letter != "a" else "b"


def test_nothing_but_the_whole_key_opens_anything(file: KeyFile) -> None:
    issued, other = file.create("t", now=NOW), file.create("t", now=NOW)
    ring = file.load()
    text = issued.text
    _, id, secret = text.split("-")
    wrong = [text[:n] for n in range(len(text))] + [text[n:] for n in range(1, len(text))]
    wrong += [text[:n] + other_letter(text[n]) + text[n + 1 :] for n in range(len(text))]
    wrong += [f"llstore-{other.key.id}-{secret}", f"llstore-{id[::-1]}-{secret}", f"llstore-{id}-{'0' * 64}"]
    odd = ["\0", "\n", " ", "\udcff", "é", "-", "a", chr(0x1D7D8)]
    wrong += [letter + text for letter in odd] + [text + letter for letter in odd] + [text * 2, "x" * 10**6]
    wrong += [text[:40] + letter + text[41:] for letter in odd if letter != text[40]]
    wrong += [text.upper(), f"Bearer {text}", "", "-", "llstore--", f"llstore-{id}", secret, id]
    assert [candidate for candidate in wrong if ring.find(candidate, NOW)] == []
    assert ring.find(text, NOW)


def test_a_disabled_key_opens_nothing(file: KeyFile) -> None:
    issued, other = file.create("t", now=NOW), file.create("t", now=NOW)
    assert file.disable(issued.key.id)
    assert not file.disable(issued.key.id)
    ring = file.load()
    assert ring.find(issued.text, NOW) is None
    assert ring.find(other.text, NOW)


def test_a_key_opens_until_it_expires(file: KeyFile) -> None:
    issued = file.create("t", now=NOW, terms=Terms(expires=NOW + 10))
    ring = file.load()
    assert ring.find(issued.text, NOW + 9.9)
    assert ring.find(issued.text, NOW + 10) is None


def test_a_key_for_metrics_says_so(file: KeyFile) -> None:
    issued = file.create("t", now=NOW, terms=Terms(metrics=True))
    access = file.load().find(issued.text, NOW)
    assert access
    assert access.metrics


def test_a_keyring_is_empty_only_while_no_key_was_ever_made(file: KeyFile) -> None:
    assert file.load().empty
    assert Keyring().empty
    issued = file.create("t", now=NOW)
    file.disable(issued.key.id)
    assert not file.load().empty
    assert Keyring().find(issued.text, NOW) is None


def test_a_keyring_stays_as_it_was(file: KeyFile) -> None:
    issued = file.create("t", now=NOW)
    ring = file.load()
    file.disable(issued.key.id)
    assert ring.find(issued.text, NOW)


def test_finding_takes_microseconds(file: KeyFile) -> None:
    texts = [file.create("t", now=NOW).text for _ in range(20)]
    ring = file.load()
    begun = time.perf_counter()
    for _ in range(50):
        for text in texts:
            ring.find(text, NOW)
    assert (time.perf_counter() - begun) / 1000 < 0.001


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


def test_a_rotated_key_goes_on_for_its_grace(file: KeyFile) -> None:
    old = file.create("t", now=NOW, terms=Terms(note="ci", metrics=True))
    new = file.rotate(old.key.id, now=NOW, grace=60)
    assert (new.key.tenant, new.key.note, new.key.metrics, new.key.expires) == ("t", "ci", True, None)
    assert new.key.id != old.key.id
    ring = file.load()
    assert all(ring.find(key.text, NOW + 59) for key in (old, new))
    assert ring.find(old.text, NOW + 60) is None
    assert ring.find(new.text, NOW + 60)


def test_without_grace_the_old_key_ends_at_once(file: KeyFile) -> None:
    old = file.create("t", now=NOW)
    file.rotate(old.key.id, now=NOW)
    assert file.load().find(old.text, NOW) is None


def test_rotating_renews_the_lifetime_and_does_not_lengthen_the_old_one(file: KeyFile) -> None:
    old = file.create("t", now=NOW, terms=Terms(expires=NOW + 100))
    new = file.rotate(old.key.id, now=NOW + 90, grace=60)
    assert new.key.expires == NOW + 190
    assert file.key(old.key.id).expires == NOW + 100


def test_only_a_key_that_opens_is_rotated_and_once(file: KeyFile) -> None:
    rotated, disabled = file.create("t", now=NOW).key.id, file.create("t", now=NOW).key.id
    expired = file.create("t", now=NOW, terms=Terms(expires=NOW + 1)).key.id
    successor = file.rotate(rotated, now=NOW, grace=100).key.id
    file.disable(disabled)
    for id, word in ((rotated, "rotated"), (disabled, "disabled"), (expired, "expired")):
        with pytest.raises(InvalidKey, match=word):
            file.rotate(id, now=NOW + 2)
    assert file.key(rotated).replaced_by == successor
    assert len(file.keys()) == 4


def test_an_unknown_key_is_named_and_a_secret_is_not(file: KeyFile) -> None:
    issued = file.create("t", now=NOW)
    for verb in (file.disable, file.key, lambda id: file.rotate(id, now=NOW)):
        with pytest.raises(NoSuchKey, match="aaaaaaaaaaaa"):
            verb("aaaaaaaaaaaa")
        with pytest.raises(NoSuchKey) as refused:
            verb(issued.text[:-1])
        assert issued.text[21:60] not in str(refused.value) + refused.value.hint
    assert file.key(issued.text) == file.key(f"llstore-{issued.key.id}") == issued.key


@pytest.mark.parametrize("expires", [NOW, NOW - 1, float("nan"), float("inf"), NOW + 1e12])
def test_a_key_that_would_never_open_or_never_end_is_not_made(file: KeyFile, expires: float) -> None:
    with pytest.raises(InvalidKey, match="expires"):
        file.create("t", now=NOW, terms=Terms(expires=expires))
    assert file.tenants() == []


@pytest.mark.parametrize("note", ["a\nb", "\x1b[2J", "\udcff", "x" * 201])
def test_a_note_is_short_and_printable(note: str) -> None:
    with pytest.raises(InvalidKey, match="note"):
        Terms(note=note)


@pytest.mark.parametrize("name", ["", "Team", "a b", "a/b", "é", "a\n", "x" * 65, None, 5])
def test_a_name_that_is_none_is_refused(file: KeyFile, name: str) -> None:
    with pytest.raises(InvalidTenant, match="name"):
        file.create(name, now=NOW)


@pytest.mark.parametrize(
    "settings",
    [
        *(
            {field: value}
            for field in ("requests_per_minute", "tokens_per_minute")
            for value in (-1, 0, 1.5, True, 2e9)
        ),
        *({"concurrency": value} for value in (-1, 0, "3")),
        *({"priority": value} for value in (-101, 101, 1.0, None)),
        *({"share": value} for value in (0, -1.0, 1000.1, float("nan"), float("inf"), "1", True)),
        *({"models": value} for value in (["t/t"], ("",), ("t",), ("a.gguf",), (5,), ("t/t",) * 257)),
    ],
)
def test_a_limit_out_of_range_is_refused(settings: dict) -> None:
    with pytest.raises(InvalidTenant, match=r"of t\b"):
        Tenant("t", **settings)


def test_given_settings_change_a_tenant_and_others_stay(file: KeyFile) -> None:
    file.create("t", now=NOW, changes=Changes(models=("t/t", "ab" * 32), tokens_per_minute=100, share=2.5))
    file.create("t", now=NOW, changes=Changes(requests_per_minute=7))
    assert file.tenants() == [Tenant("t", ("t/t", "ab" * 32), 7, 100, share=2.5)]
    changed = file.set_tenant("t", Changes(models=(), tokens_per_minute=0, concurrency=3, priority=-5))
    assert changed == Tenant("t", (), 7, None, 3, -5, 2.5)
    assert file.tenants() == [changed]


def test_a_change_that_is_refused_changes_nothing(file: KeyFile) -> None:
    file.create("t", now=NOW, changes=Changes(priority=5))
    with pytest.raises(InvalidTenant, match="priority"):
        file.set_tenant("t", Changes(priority=500, share=3.0))
    with pytest.raises(InvalidTenant, match="priority"):
        file.create("t", now=NOW, changes=Changes(priority=500))
    with pytest.raises(NoSuchTenant, match="'u'"):
        file.set_tenant("u", Changes(priority=1))
    assert file.tenants() == [Tenant("t", priority=5)]
    assert len(file.keys()) == 1


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
    begun = time.perf_counter()
    for _ in range(200):
        file.changed()
    assert (time.perf_counter() - begun) / 200 < 0.005


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


def test_usage_adds_up_by_tenant_model_and_day(file: KeyFile) -> None:
    tally = UsageTally()
    for _ in range(3):
        tally.add(UsageRow("a", MODEL, day_of(NOW), 1, 10, 4, 2))
    tally.add(UsageRow("b", MODEL, day_of(NOW + 86_400), 1, 1, 0, 1))
    tally.flush(file)
    tally.flush(file)
    tally.add(UsageRow("a", MODEL, day_of(NOW), 1, 10, 4, 2))
    assert len(file.usage()) == 2
    tally.flush(file)
    first = UsageRow("a", MODEL, "2027-01-15", 4, 40, 16, 8)
    assert file.usage() == [first, UsageRow("b", MODEL, "2027-01-16", 1, 1, 0, 1)]
    assert file.usage("a") == [first]
    assert file.usage("c") == []


class Full:
    """A file whose disk is full."""

    def add_usage(self, _rows: object) -> None:
        raise RunnerError("no space")


def test_usage_that_could_not_be_flushed_is_still_counted(file: KeyFile) -> None:
    tally = UsageTally()
    row = UsageRow("a", MODEL, "2026-01-31", 1, 10, 4, 2)
    tally.add(row)
    with pytest.raises(RunnerError):
        tally.flush(Full())
    assert tally.rows() == [row]
    tally.flush(file)
    assert tally.rows() == []
    assert file.usage() == [row]


def test_threads_count_together(file: KeyFile) -> None:
    tally = UsageTally()

    def work() -> None:
        for n in range(200):
            tally.add(UsageRow("a", MODEL, "2026-01-31", 1, 2))
            if n % 50 == 0:
                tally.flush(file)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    tally.flush(file)
    assert file.usage() == [UsageRow("a", MODEL, "2026-01-31", 800, 1600)]
