"""A mistyped CMAKE_ARGS is told at once, and what CMake made no use of as soon as CMake knows."""

import pytest
from cmake_arguments import unused_variables, user_arguments
from failures import InstallError

LOG = """-- Generating done
CMake Warning:
  Manually-specified variables were not used by the project:

    NONSENSE
    SKBUILD_STATE


-- Build files have been written to: build
"""


@pytest.mark.parametrize("text", ["nonsense", "GGML_CUDA=on", "-DGGML_CUDA", "-D =on", "-DA=1 -pipe", "''", "-DA='x"])
def test_a_word_that_is_no_option_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(InstallError, match=r"CMAKE_ARGS.*; (write -DNAME=VALUE|close the quote)"):
        user_arguments({"CMAKE_ARGS": text})


def test_the_options_of_cmake_are_read_as_a_shell_reads_them() -> None:
    assert user_arguments({"CMAKE_ARGS": "-D  A:BOOL=on '-DB=-g -pipe' -DC="}) == [
        "-DA:BOOL=on",
        "-DB=-g -pipe",
        "-DC=",
    ]
    others = ["-G", "Unix Makefiles", "-GNinja", "-U", "A*", "--fresh", "-Wno-dev", "--toolchain", "a.cmake"]
    assert user_arguments({"CMAKE_ARGS": "-G 'Unix Makefiles' " + " ".join(others[2:])}) == others
    assert user_arguments({}) == []


def test_only_unused_variables_of_the_user_are_told() -> None:
    assert unused_variables(LOG, ["-DNONSENSE=1", "-DGGML_CUDA=on"]) == ["NONSENSE"]
    assert unused_variables(LOG, []) == []
    assert unused_variables("", ["-DNONSENSE=1"]) == []
