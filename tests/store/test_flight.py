"""One fetch of a blob at a time, among real processes; and nobody waits for ever."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llstore.store.digest import Digest
from llstore.store.transfer import flight
from llstore.store.transfer.flight import single_flight, sweep

DIGEST = Digest.of(b"a blob")

# Eight processes fetch the same blob again and again; each fails if it is not alone.
MANY = """
import os, random, sys, time
from pathlib import Path
from llstore.store.digest import Digest
from llstore.store.transfer.flight import single_flight
folder, digest = Path(sys.argv[1]), Digest.of(b"a blob")
for number in range(8):
    if not os.fork():
        for turn in range(4):
            time.sleep(random.Random(number * 10 + turn).uniform(0, 0.1))
            with single_flight(folder / "partial", digest, done=lambda: False):
                (folder / "alone").touch(exist_ok=False)
                time.sleep(0.02)
                (folder / "alone").unlink()
            (folder / f"{number}-{turn}").touch()
        os._exit(0)
while True:
    try:
        assert not os.waitstatus_to_exitcode(os.wait()[1])
    except ChildProcessError:
        break
"""

HOLDER = """
import sys
from pathlib import Path
from llstore.store.digest import Digest
from llstore.store.transfer.flight import single_flight
with single_flight(Path(sys.argv[1]), Digest.of(b"a blob"), done=lambda: False):
    print("held", flush=True)
    sys.stdin.read()
"""


def never() -> bool:
    return False


def waits() -> bool:
    pytest.fail("it waits")


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is fetching the blob."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_of_many_processes_one_fetches_at_a_time(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", MANY, str(tmp_path)], check=True, timeout=60)
    assert len(list(tmp_path.glob("*-*"))) == 32
    assert list((tmp_path / "partial").iterdir()) == [], "no lock file stays behind"


def test_who_waits_goes_on_when_the_blob_is_there(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    asked = []

    def done() -> bool:
        asked.append(1)
        return len(asked) == 3

    with single_flight(tmp_path, DIGEST, done=done):
        assert len(asked) == 3
    assert list(tmp_path.glob("*.lock")), "the lock is still the other's"


def test_another_blob_is_not_waited_for(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with single_flight(tmp_path, Digest.of(b"another"), done=waits):
        assert len(list(tmp_path.glob("*.lock"))) == 2


def test_a_killed_process_frees_the_next_at_once(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    asked = []

    def kill() -> bool:
        asked.append(1)
        holder.send_signal(signal.SIGKILL)
        return False

    with single_flight(tmp_path, DIGEST, done=kill):
        assert asked
    assert list(tmp_path.iterdir()) == [], "it had the lock, and did not go on without"


def test_a_process_that_makes_no_headway_is_not_waited_for(
    tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight, "PATIENCE", 0.3)
    asked = []
    with single_flight(tmp_path, DIGEST, done=lambda: asked.append(1)):
        assert asked, "it waited"
    assert list(tmp_path.glob("*.lock")), "the lock is still the other's"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_while_it_waits_is_heard(
    error: type[BaseException], tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    def interrupt() -> bool:
        raise error

    with pytest.raises(error), single_flight(tmp_path, DIGEST, done=interrupt):
        pytest.fail("it did not wait")


def test_an_error_inside_lets_go_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), single_flight(tmp_path, DIGEST, done=never):
        raise RuntimeError
    with single_flight(tmp_path, DIGEST, done=waits):
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def file_in_its_place(folder: Path) -> None:
    folder.write_text("")


def lock_is_a_folder(folder: Path) -> None:
    (folder / f"{DIGEST.hex}.lock").mkdir(parents=True)


def dangling_link(folder: Path) -> None:
    folder.mkdir()
    (folder / f"{DIGEST.hex}.lock").symlink_to(folder / "absent" / "absent")


@pytest.mark.parametrize("spoil", [file_in_its_place, lock_is_a_folder, dangling_link])
def test_where_no_lock_can_be_had_it_goes_on_without(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path / "partial")
    went_on = []
    with single_flight(tmp_path / "partial", DIGEST, done=waits):
        went_on.append(1)
    assert went_on


def test_a_lock_on_a_file_that_was_removed_is_no_lock(tmp_path: Path) -> None:
    """Someone cleans the folder: the file that is waited on is not the one that the next process will find."""
    path = tmp_path / f"{DIGEST.hex}.lock"
    old = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(old, fcntl.LOCK_EX)
    asked = []

    def clean() -> bool:
        asked.append(1)
        if len(asked) == 1:
            path.unlink()
            os.close(old)
        return len(asked) > 20

    with single_flight(tmp_path, DIGEST, done=clean):
        fd = os.open(path, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)


def test_lock_files_of_dead_processes_are_swept_and_those_in_use_stay(tmp_path: Path) -> None:
    (tmp_path / f"{'ab' * 32}.lock").touch()
    held = Digest("cd" * 32)
    with single_flight(tmp_path, held, done=lambda: False):
        sweep(tmp_path)
        assert [path.name for path in tmp_path.glob("*.lock")] == [f"{held.hex}.lock"]
