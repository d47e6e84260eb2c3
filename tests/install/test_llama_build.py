"""The user's CMAKE_ARGS rule, and a plain `pip install` builds what `make` builds."""

import re
from pathlib import Path

from amx_probe import LEAVE_OUT, Choice
from compilers import Compilers
from llama_build import SETTINGS, build_settings, count_objects, progress_line
from locked import ROOT

FOUND = Compilers(("cc",), ("c++",))


def test_the_settings_for_a_plain_pip_install_are_those_of_the_build() -> None:
    for page in ("README.md", "docs/build.md"):
        told = dict(re.findall(r"^export (SKBUILD_\w+)='?([^'\n]+?)'?$", (ROOT / page).read_text(), re.MULTILINE))
        assert told == SETTINGS


def test_cmake_args_are_left_as_they_are_and_come_last() -> None:
    settings = build_settings(
        Choice(FOUND), ["-DGGML_CUDA=on"], {"CMAKE_ARGS": "-DGGML_CUDA=on", "SKBUILD_CMAKE_DEFINE": "A=1"}
    )
    assert "CMAKE_ARGS" not in settings  # scikit-build-core puts them after its definitions
    assert settings["SKBUILD_CMAKE_DEFINE"].endswith(";A=1")


def test_the_compilers_that_were_looked_at_are_those_that_compile() -> None:
    assert build_settings(Choice(FOUND), [], {})["CXX"] == "c++"
    other = Compilers(("gcc-14",), ("g++-14",), chosen=True)
    settings = build_settings(Choice(other), [], {})
    assert (settings["CC"], settings["CXX"]) == ("gcc-14", "g++-14")


def test_amx_is_left_out_whichever_way_the_user_gives_flags() -> None:
    left_out = Choice(FOUND, (LEAVE_OUT,))
    assert build_settings(left_out, [], {"CFLAGS": "-g"})["CFLAGS"] == f"-g {LEAVE_OUT}"
    said = build_settings(left_out, ["-DCMAKE_CXX_FLAGS=-g -pipe"], {"CMAKE_ARGS": "'-DCMAKE_CXX_FLAGS=-g -pipe'"})
    assert said["CMAKE_ARGS"].endswith(f"'-DCMAKE_CXX_FLAGS=-g -pipe {LEAVE_OUT}'")


def test_progress_counts_the_objects_that_are_there(tmp_path: Path) -> None:
    assert count_objects(tmp_path) == ""
    assert progress_line(tmp_path, 3) == "configuring llama.cpp, 3 s"
    rules = [
        "build ggml/a.o: C_COMPILER__ggml-base_unscanned_Release a.c",
        "build src/b.o: CXX_COMPILER__llama_unscanned_Release b.cpp",
        "build vendor/hash.o: CXX_COMPILER__sha256_unscanned_Release hash.cpp",
        "build libllama.so: CXX_SHARED_LIBRARY_LINKER__llama_Release src/b.o",
    ]
    (tmp_path / "build.ninja").write_text("\n".join(rules))
    (tmp_path / "ggml").mkdir()
    (tmp_path / "ggml" / "a.o").touch()
    assert progress_line(tmp_path, 21) == "compiled 1 of 2 objects, 21 s"
    assert count_objects(tmp_path) == "1 of 2 objects"  # what a build that goes on begins with
