"""A log of pip, uv, CMake or a compiler is told in one line that names the cause and the next step."""

import errno
import os
from pathlib import Path

import pytest
from failures import InstallError, cause_in, system_error

UV = "uv==0.13.9"
REFUSED = "WARNING: Retrying after [Errno 111] Connection refused\n"
HEAD = "CMake Error at a/CMakeLists.txt:178 (target_link_libraries):"
NO_GPU = "CMake Error in a/CMakeLists.txt:\n  ARCHITECTURES.\n\n\n"
NO_TARGET = f"""{HEAD}
  Target "ggml-cuda" links to:

    CUDA::cublas

  but the target was not found.  Possible reasons include:

    * There is a typo in the target name.


-- Generating done
"""
LOGS = {
    "as: /tmp/x.o: No space left on device\nninja: build stopped": "the disk is full",
    "g++: fatal error: Killed signal terminated program cc1plus": "memory ran out",
    f"{REFUSED}ERROR: No matching distribution found for {UV}": "the package index cannot be reached",
    f"ERROR: No matching distribution found for {UV}": f"{UV} is on none of the package indexes",
    f"error: Failed to download\n  cause: Hash mismatch for `{UV}`": f"{UV} is not the file that the lock names",
    f"THESE PACKAGES DO NOT MATCH THE HASHES. If you\n    {UV} from u:\n": f"{UV} is not the file that the lock names",
    "CMake Error at a/CMakeLists.txt:7 (message):\n  CUDA not found\n\n": "CMake refused: CUDA not found",
    f"{HEAD}\n  no glslc\n  (found)\nCall Stack:\n  a:1 (f)\n": "CMake refused: no glslc (found)",
    f"{NO_GPU}{NO_GPU}{NO_TARGET}": (
        'CMake refused: ARCHITECTURES; Target "ggml-cuda" links to: CUDA::cublas but the target was not found'
    ),
    "CMake Error: Could not create generator Foo\nGenerators\n": "CMake refused: Could not create generator Foo",
    "[3/78] g++ -c a.cpp\na.cpp:3:1: error: no x\n": "the compiler refused a.cpp:3:1: error: no x",
    "It was not created because ensurepip is not\navailable.": "this Python cannot make virtual environments",
    "one\nsomething new\n\n": "it ended with: something new",
    "": "it ended without a word",
}


@pytest.mark.parametrize("log", LOGS)
def test_a_log_names_its_cause(log: str) -> None:
    cause, hint = cause_in(log)
    assert cause == LOGS[log]
    assert hint


def test_an_error_is_one_line_with_the_next_step_and_the_log() -> None:
    error = InstallError(
        "llama.cpp was not compiled: the disk is full", hint="free some space", log=Path("/l/build.log")
    )
    assert str(error) == "llama.cpp was not compiled: the disk is full; free some space (log: /l/build.log)"


def test_a_long_message_is_cut() -> None:
    assert len(cause_in("CMake Error: " + "x" * 5000)[0]) < 250


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space, or name another folder"),
        (errno.EROFS, "name a folder that you may write"),
        (errno.EACCES, "name a folder that you may write"),
        (errno.EEXIST, "a folder is needed there: remove the file, or name another folder"),
        (errno.ENOENT, "name another folder"),
    ],
)
def test_what_the_system_refuses_is_told_with_advice_that_fits(number: int, advice: str) -> None:
    told = str(system_error(OSError(number, os.strerror(number), "/v")))
    assert told == f"/v: {os.strerror(number)}; {advice} with --venv DIR (make: VENV=DIR)"


def test_an_error_of_the_system_without_a_file_is_told_by_its_text() -> None:
    assert str(system_error(OSError(errno.ENOSPC, "no space"))).startswith("no space; free some space")
    assert str(system_error(OSError("timed out"))).startswith("timed out; ")
