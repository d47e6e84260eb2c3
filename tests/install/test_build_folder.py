"""One build at a time: whoever still compiles in a folder keeps others out of it, also when the installer is gone."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from build_folder import BuildFolder, exclusive
from failures import InstallError


def is_free(folder: Path) -> bool:
    descriptor = os.open(folder / "lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_a_folder_is_locked_as_long_as_a_process_of_the_compile_lives(tmp_path: Path) -> None:
    # As scikit-build-core, CMake and ninja do: each starts the next, and closes what is not a standard stream.
    start_another = "import subprocess; subprocess.run(['sh', '-c', 'echo begun; sleep 600'])"
    with exclusive(BuildFolder(tmp_path)) as lock:
        command = [sys.executable, "-c", start_another]
        compile_ = subprocess.Popen(command, stdin=lock, stdout=subprocess.PIPE, process_group=0)
        assert compile_.stdout
        assert compile_.stdout.readline() == b"begun\n"
    compile_.kill()
    compile_.wait()
    assert not is_free(tmp_path)  # the grandchild is left
    os.killpg(compile_.pid, 9)
    compile_.stdout.close()
    with exclusive(BuildFolder(tmp_path)):  # waits for the grandchild's end, and for no more
        assert not is_free(tmp_path)


def test_a_folder_that_cannot_be_used_is_named_with_the_variable_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InstallError, match=r"cannot be used: .*LLSTORE_BUILD_CACHE"),
        exclusive(BuildFolder(tmp_path / "file" / "a")),
    ):
        pass
