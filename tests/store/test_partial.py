"""Part files, among real processes: who writes one, who is dead, and who may go on from what was left."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llstore.store.backends.local import LocalBackend
from llstore.store.digest import Digest
from llstore.store.disk import PartFile
from llstore.store.transfer.partial import FOREIGN_SECONDS, adopt, create, leave, owner, owner_lives, partials, remove

DIGEST = Digest.of(b"a blob")
OTHER = Digest.of(b"another")
SIZE = 1000

WRITER = """
import sys
from pathlib import Path
from llstore.store.digest import Digest
from llstore.store.transfer.partial import create, owner
with create(Path(sys.argv[1]), Digest.of(b"a blob"), size=1000) as part:
    part.write_at(0, b"half")
    print(owner(), flush=True)
    sys.stdin.read()
"""

# Eight processes try to adopt what is there, at the same moment; each that gets something says what, and keeps it.
ADOPTERS = """
import os, sys, time
from pathlib import Path
from llstore.store.digest import Digest
from llstore.store.transfer.partial import adopt
folder, started = Path(sys.argv[1]), os.pipe()
for number in range(8):
    if not os.fork():
        os.close(started[1])
        os.read(started[0], 1)  # ends for all of them at once
        part = adopt(folder, Digest.of(b"a blob"), size=1000)
        if part:
            inode = os.fstat(part._fd).st_ino
            sys.stdout.write(f"{inode}\\n")
            sys.stdout.flush()
        time.sleep(1)
        os._exit(0)
os.close(started[1])
while True:
    try:
        assert not os.waitstatus_to_exitcode(os.wait()[1])
    except ChildProcessError:
        break
"""

# Whoever has the folder open but may not write there, or may not write the file.
STRANGER = """
import os, sys
from pathlib import Path
from llstore.store.digest import Digest
from llstore.store.transfer.partial import adopt
os.chdir(sys.argv[1])
if not os.geteuid():
    os.setegid(65534)
    os.seteuid(65534)
print(adopt(Path("."), Digest.of(b"a blob"), size=1000))
print(*sorted(os.listdir(".")))
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes a part file, and has said who it is."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def named(folder: Path, who: str, *, digest: Digest = DIGEST, size: int = SIZE) -> Path:
    """A part file as its writer would have left it, with nobody's lock on it."""
    path = folder / f"{digest.hex}.{who}.0123abcd.part"
    path.write_bytes(bytes(size))
    return path


def dead() -> str:
    """The name of a process that has ended."""
    host, _, _ = owner().split("-")
    with subprocess.Popen(["true"]) as process:
        pass
    return f"{host}-{process.pid}-12345"


def test_a_part_file_tells_its_blob_its_size_and_its_writer(tmp_path: Path) -> None:
    with create(tmp_path, DIGEST, size=SIZE) as part:
        assert part.path.name.startswith(f"{DIGEST.hex}.{owner()}.")
        (found,) = partials(tmp_path)
        assert (found.path, found.digest, found.size, found.alive) == (part.path, DIGEST, SIZE, True)
        assert found.age_seconds >= -1
    assert partials(tmp_path) == []


def test_part_files_are_listed_oldest_first(tmp_path: Path) -> None:
    for age in (5, 50, 20):
        os.utime(named(tmp_path, f"00000000-{age}-1"), (time.time() - age,) * 2)
    found = partials(tmp_path)
    assert [each.path.name.split("-")[-2] for each in found] == ["50", "20", "5"]
    assert all(each.age_seconds >= age for each, age in zip(found, (50, 20, 5), strict=True))


def test_a_part_file_of_a_small_file_has_no_digest_and_is_listed(tmp_path: Path) -> None:
    with PartFile.beside(tmp_path, size=SIZE):
        (found,) = partials(tmp_path)
        assert (found.digest, found.alive) == (None, True)
    path = tmp_path / "nonsense.part"
    path.write_bytes(b"")
    assert [found.alive for found in partials(tmp_path)] == [True]
    os.utime(path, (0, 0))
    assert [found.alive for found in partials(tmp_path)] == [False]


def test_nothing_is_listed_where_there_is_no_folder(tmp_path: Path) -> None:
    assert partials(tmp_path / "absent") == []
    assert adopt(tmp_path / "absent", DIGEST, size=SIZE) is None


def test_a_live_writer_is_left_alone(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    assert owner_lives(said(writer)) is True
    assert [found.alive for found in partials(tmp_path)] == [True]
    assert adopt(tmp_path, DIGEST, size=SIZE) is None


def test_a_killed_writer_is_dead_at_once_although_nobody_has_waited_for_it(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    who = said(writer)
    writer.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now, and stays one
    assert owner_lives(who) is False
    assert [found.alive for found in partials(tmp_path)] == [False]
    part = adopt(tmp_path, DIGEST, size=SIZE)
    assert part
    with part:
        data = bytearray(4)
        part.read_at(0, memoryview(data))
        assert data == b"half"
        assert [found.alive for found in partials(tmp_path)] == [True]
    writer.wait()
    assert owner_lives(who) is False


def test_a_number_used_again_is_another_process(tmp_path: Path) -> None:
    host, pid, start = owner().split("-")
    assert owner_lives(owner()) is True
    assert owner_lives(f"{host}-{pid}-{int(start) + 1}") is False
    named(tmp_path, f"{host}-{pid}-{int(start) + 1}")
    assert [found.alive for found in partials(tmp_path)] == [False]


@pytest.mark.parametrize("who", ["", "x", "a-b-c", "1-2", "00000000-1", "{host}--1", "{host}-1-x", "{host}-1-2-3"])
def test_a_name_that_is_none_cannot_be_asked(who: str) -> None:
    assert owner_lives(who.format(host=owner().partition("-")[0])) is None


def test_a_number_no_process_can_have_is_dead() -> None:
    host = owner().partition("-")[0]
    assert owner_lives(f"{host}-{10**19}-1") is False
    assert owner_lives(f"{host}-0-0") is False


def test_a_writer_on_another_host_lives_as_long_as_it_writes(tmp_path: Path) -> None:
    path = named(tmp_path, "00000000-1-1")
    assert owner_lives("00000000-1-1") is None
    os.utime(path, (time.time() - FOREIGN_SECONDS + 60,) * 2)
    assert adopt(tmp_path, DIGEST, size=SIZE) is None
    os.utime(path, (time.time() - FOREIGN_SECONDS - 60,) * 2)
    part = adopt(tmp_path, DIGEST, size=SIZE)
    assert part
    part.close()


def test_a_lock_says_more_than_a_name(tmp_path: Path) -> None:
    path = named(tmp_path, dead())
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert [found.alive for found in partials(tmp_path)] == [True]
        assert adopt(tmp_path, DIGEST, size=SIZE) is None
    assert [found.alive for found in partials(tmp_path)] == [False]


def test_where_there_is_no_lock_the_name_decides(tmp_path: Path) -> None:
    named(tmp_path, owner())
    assert [found.alive for found in partials(tmp_path)] == [True]
    assert adopt(tmp_path, DIGEST, size=SIZE) is None


def test_looking_at_a_part_file_does_not_take_its_lock_away(tmp_path: Path) -> None:
    with create(tmp_path, DIGEST, size=SIZE) as part:
        partials(tmp_path)
        with part.path.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(("digest", "size"), [(OTHER, SIZE), (DIGEST, SIZE - 1), (DIGEST, SIZE + 1), (DIGEST, 0)])
def test_only_a_part_file_of_this_blob_is_adopted(tmp_path: Path, digest: Digest, size: int) -> None:
    path = named(tmp_path, dead(), digest=digest, size=size)
    assert adopt(tmp_path, DIGEST, size=SIZE) is None
    assert path.stat().st_size == size


def test_of_many_that_adopt_the_same_one_gets_it(tmp_path: Path) -> None:
    left = [
        path.rename(tmp_path / f"{DIGEST.hex}.{dead()}.{number}.part").stat().st_ino
        for number in range(3)
        for path in [named(tmp_path, dead())]
    ]
    ran = subprocess.run(
        [sys.executable, "-c", ADOPTERS, str(tmp_path)], check=True, timeout=60, capture_output=True, text=True
    )
    assert sorted(map(int, ran.stdout.split())) == sorted(left), "each was adopted, and by one"


def test_what_was_left_is_adopted_by_the_same_process(tmp_path: Path) -> None:
    with create(tmp_path, DIGEST, size=SIZE) as part:
        part.write_at(0, b"half")
        leave(part, DIGEST)
        assert adopt(tmp_path, DIGEST, size=SIZE) is None, "it is still being written"
    (found,) = partials(tmp_path)
    assert not found.alive
    again = adopt(tmp_path, DIGEST, size=SIZE)
    assert again
    with again:
        data = bytearray(4)
        again.read_at(0, memoryview(data))
        assert data == b"half"
        assert [found.alive for found in partials(tmp_path)] == [True]
    assert partials(tmp_path) == [], "what was adopted and not left is removed"


def test_an_adopted_file_is_committed_whole(tmp_path: Path) -> None:
    """Also when its last bytes were there already, and nobody wrote them again."""
    named(tmp_path, dead()).write_bytes(bytes(range(250)) * 4)
    part = adopt(tmp_path, DIGEST, size=SIZE)
    assert part
    with part:
        part.write_at(0, b"first")
        part.commit(tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == b"first" + (bytes(range(250)) * 4)[5:]


@pytest.mark.parametrize(("folder", "file"), [(0o755, 0o666), (0o777, 0o444)])
def test_what_belongs_to_somebody_else_is_left_to_him(tmp_path: Path, folder: int, file: int) -> None:
    (tmp_path / "partial").mkdir()
    path = named(tmp_path / "partial", dead())
    path.chmod(file)
    path.parent.chmod(folder if not os.geteuid() else folder & 0o555)
    ran = subprocess.run(
        [sys.executable, "-c", STRANGER, str(path.parent)], check=True, timeout=60, capture_output=True, text=True
    )
    path.parent.chmod(0o755)
    assert ran.stdout.split() == ["None", path.name]


def test_removing_is_no_error_when_it_is_gone(tmp_path: Path) -> None:
    named(tmp_path, dead())
    (found,) = partials(tmp_path)
    remove(found)
    remove(found)
    assert partials(tmp_path) == []


def test_a_write_to_a_folder_store_removes_what_a_killed_write_left(tmp_path: Path) -> None:
    """Nobody can take it up: unlike a get's part file, whose blocks can be checked."""
    code = """
import os, sys
from pathlib import Path
from llstore.store.backends.local import LocalBackend
def chunks():
    yield b"half"
    os.kill(os.getpid(), 9)
LocalBackend(Path(sys.argv[1])).write("blobs/one", chunks(), size=8)
"""
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == -signal.SIGKILL
    with create(tmp_path / "partial", DIGEST, size=SIZE) as part:
        part.keep()
    assert len(partials(tmp_path / "partial")) == 2
    LocalBackend(tmp_path).write("blobs/one", [b"whole"], size=5)
    assert [left.digest for left in partials(tmp_path / "partial")] == [DIGEST]
