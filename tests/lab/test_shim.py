"""The shim counts what a process does to files, and makes the N-th of it fail, or fatal: that one and no other."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest
import shim

pytestmark = pytest.mark.skipif(bool(shim.unavailable()), reason=shim.unavailable() or "there is one")

SAVE = """
import os, sys
os.chdir(sys.argv[1])
os.mkdir("sub")
fd = os.open("sub/part", os.O_WRONLY | os.O_CREAT, 0o666)
os.posix_fallocate(fd, 0, 64)
os.write(fd, b"0123456789")
os.pwrite(fd, b"ab", 2)
os.pwritev(fd, [b"xy", b"z"], 10)
os.ftruncate(fd, 13)
os.fsync(fd)
os.fchmod(fd, 0o444)
os.close(fd)
os.rename("sub/part", "whole")
os.link("whole", "again")
os.unlink("again")
folder = os.open("sub", os.O_RDONLY)
os.fsync(folder)
"""
SAVED = ["mkdir", "open", "allocate", "write", "write", "write", "truncate", "fsync", "chmod", "rename", "link"]
SAVED += ["unlink", "fsync"]
SQLITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1] + "/a.db", timeout=0.2)
connection.execute("create table if not exists t (n integer)")
connection.execute("insert into t values (1)")
connection.commit()
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the library is compiled, once."""
    return tmp_path_factory.mktemp("shim")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder that is watched."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def run(built: Path, root: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python code that gets the root as its argument, under the shim."""

    def run(code: str, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, str(root), *arguments],
            env={**os.environ, **shim.environment(built, root=root, **settings)},
            capture_output=True,
            text=True,
            timeout=30,
        )

    return run


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def python(code: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def test_each_call_is_counted_in_order(built: Path, root: Path) -> None:
    calls = shim.count(python(SAVE, root), folder=built, root=root)
    assert [call.operation for call in calls] == SAVED
    assert [call.number for call in calls] == list(range(1, len(SAVED) + 1))
    assert calls[1].path == root / "sub" / "part"
    assert calls[9].path == root / "whole"
    assert files(root) == {"whole": b"01ab456789xyz"}


def test_only_the_named_families_are_counted(built: Path, root: Path) -> None:
    calls = shim.count(python(SAVE, root), folder=built, root=root, ops=("fsync", "rename"))
    assert [call.operation for call in calls] == ["fsync", "rename", "fsync"]


def test_nothing_outside_the_root_counts(built: Path, root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "rooted"  # begins like the root
    elsewhere.mkdir()
    (root / "out").symlink_to(elsewhere)
    (tmp_path / "in").symlink_to(root)
    for outside in (elsewhere, root / "out", root / ".." / "rooted"):
        assert shim.count(python(SAVE, outside), folder=built, root=root) == []
        (elsewhere / "whole").unlink()
        (elsewhere / "sub").rmdir()
    assert len(shim.count(python(SAVE, tmp_path / "in"), folder=built, root=root)) == len(SAVED)


def test_reading_does_not_count(built: Path, root: Path) -> None:
    (root / "a").write_bytes(b"a")
    code = "import os, sys; open(sys.argv[1] + '/a', 'rb').read(); os.stat(sys.argv[1]); os.listdir(sys.argv[1])"
    assert shim.count(python(code, root), folder=built, root=root) == []


def test_a_move_out_of_the_root_counts(built: Path, root: Path, tmp_path: Path) -> None:
    (root / "a").write_bytes(b"a")
    code = "import os, sys; os.rename(sys.argv[1], sys.argv[2])"
    calls = shim.count(python(code, root / "a", tmp_path / "a"), folder=built, root=root)
    assert [(call.operation, call.path) for call in calls] == [("rename", root / "a")]


@pytest.mark.parametrize("at", range(1, len(SAVED) + 1))
@pytest.mark.parametrize("action", ["fail", "enospc"])
def test_the_nth_call_fails(run, root: Path, tmp_path: Path, at: int, action: str) -> None:
    log = tmp_path / "log"
    ran = run(SAVE, at=at, action=action, log=log)
    code = {"fail": errno.EIO, "enospc": errno.ENOSPC}[action]
    assert (ran.returncode, f"[Errno {code}]" in ran.stderr) == (1, True)
    assert [call.operation for call in shim.calls(log)] == SAVED[:at]
    assert ("whole" in files(root)) is (at > 10)


@pytest.mark.parametrize("at", range(1, len(SAVED) + 1))
@pytest.mark.parametrize("action", ["kill", "kill-after"])
def test_the_nth_call_kills(run, root: Path, tmp_path: Path, at: int, action: str) -> None:
    log = tmp_path / "log"
    assert run(SAVE, at=at, action=action, log=log).returncode == -signal.SIGKILL
    assert [call.operation for call in shim.calls(log)] == SAVED[:at]
    done = at if action == "kill-after" else at - 1
    assert (root / "sub").exists() is (done >= 1)
    assert (root / "sub" / "part").exists() is (2 <= done < 10)
    assert (root / "whole").exists() is (done >= 10)
    assert (root / "again").exists() is (done == 11)


def test_a_short_write_writes_half(run, root: Path) -> None:
    code = (
        "import os, sys; fd = os.open(sys.argv[1] + '/a', os.O_WRONLY | os.O_CREAT);"
        "print(os.write(fd, b'0123456789'), os.pwrite(fd, b'abcd', 5), os.writev(fd, [b'xyzw', b'q']))"
    )
    assert run(code, at=1, action="short", times=0).stdout.split() == ["5", "2", "2"]
    assert files(root) == {"a": b"01234xy"}


def test_a_fault_hits_as_often_as_asked(run) -> None:
    code = """
import os, sys
for number in range(5):
    try: os.mkdir(f"{sys.argv[1]}/{number}")
    except OSError: print(number)
"""
    assert run(code, at=2).stdout.split() == ["1"]
    assert run(code.replace("number}", "number}b"), at=2, times=2).stdout.split() == ["1", "2"]
    assert run(code.replace("number}", "number}c"), at=2, times=0).stdout.split() == ["1", "2", "3", "4"]


def test_copies_within_the_kernel_count(built: Path, root: Path) -> None:
    (root / "a").write_bytes(b"a" * 100)
    code = """
import os, sys
a, b = open(sys.argv[1] + "/a", "rb"), open(sys.argv[1] + "/b", "wb")
os.copy_file_range(a.fileno(), b.fileno(), 50)
os.sendfile(b.fileno(), a.fileno(), None, 50)
"""
    calls = shim.count(python(code, root), folder=built, root=root)
    assert [call.operation for call in calls] == ["open", "write", "write"]
    assert files(root)["b"] == b"a" * 100


def test_the_standard_librarys_ways_count(built: Path, root: Path) -> None:
    code = """
import shutil, sys, tempfile, pathlib
root = pathlib.Path(sys.argv[1])
(root / "a").write_bytes(b"x" * 10)
(root / "a").chmod(0o600)
shutil.copyfile(root / "a", root / "b")
(root / "b").replace(root / "c")
(root / "d").symlink_to("c")
(root / "e" / "f").mkdir(parents=True)
shutil.rmtree(root / "e")
"""
    calls = shim.count(python(code, root), folder=built, root=root)
    # How often each is done is the library's own business.
    order = [operation for operation, _ in groupby(call.operation for call in calls)]
    assert order == ["open", "write", "chmod", "open", "write", "rename", "link", "mkdir", "unlink"]


def test_a_forked_child_and_threads_are_counted_too(built: Path, root: Path) -> None:
    code = """
import os, sys, threading
if os.fork() == 0:
    os.mkdir(sys.argv[1] + "/child")
    os._exit(0)
os.wait()
threads = [threading.Thread(target=os.mkdir, args=(f"{sys.argv[1]}/{n}",)) for n in range(50)]
for each in threads: each.start()
for each in threads: each.join()
"""
    calls = shim.count(python(code, root), folder=built, root=root)
    assert [call.number for call in calls] == [1, *range(1, 51)]
    assert {call.path.name for call in calls} == {"child", *map(str, range(50))}


def test_every_call_of_a_commit_can_be_its_last(built: Path, root: Path, run) -> None:
    run(SQLITE)
    total = len(shim.count(python(SQLITE, root), folder=built, root=root))
    assert total > 5, "a commit writes and syncs its journal and the database"
    check = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1] + '/a.db');"
        "print(*connection.execute('select count(*) from t').fetchone())"
    )
    rows = 2
    for at in range(1, total + 1):
        assert run(SQLITE, at=at, action="kill").returncode == -signal.SIGKILL
        found = int(run(check).stdout)
        assert found in (rows, rows + 1)
        rows = found


def test_an_io_error_reaches_sqlite(run) -> None:
    run(SQLITE)
    ran = run(SQLITE, at=1, ops=("fsync",))
    assert ran.returncode == 1
    assert "disk I/O error" in ran.stderr


def test_without_locks_flock_and_fcntl_fail(run) -> None:
    code = """
import fcntl, sys
for place in sys.argv[1:]:
    with open(place + "/lock", "w") as file:
        for lock in (fcntl.flock, fcntl.lockf):
            try: print(lock(file, fcntl.LOCK_EX))
            except OSError as error: print(error.errno)
        fcntl.flock(file, fcntl.LOCK_UN)
"""
    assert run(code, locks=False).stdout.split() == [str(errno.ENOLCK)] * 2
    assert run(code).stdout.split() == ["None"] * 2


def test_without_locks_sqlite_says_that_it_is_locked(run, tmp_path: Path) -> None:
    assert "database is locked" in run(SQLITE, locks=False).stderr
    assert run(SQLITE.replace("sys.argv[1]", "sys.argv[2]"), str(tmp_path), locks=False).returncode == 0


def test_what_is_not_an_action_or_a_family_is_refused(built: Path, root: Path) -> None:
    with pytest.raises(ValueError, match="explode"):
        shim.environment(built, root=root, action="explode")
    with pytest.raises(ValueError, match="sync"):
        shim.environment(built, root=root, ops=("sync",))
