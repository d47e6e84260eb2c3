"""A kept build is used again only for what it was built for."""

from pathlib import Path

from build_folder import BuildFolder, cache_root
from build_key import build_key, machine_facts, settings_read
from cmake_arguments import user_arguments
from compilers import find_compilers


def test_equal_facts_have_one_key_and_any_difference_has_another() -> None:
    facts = {"package": "llama-cpp-python==0.3.36", "machine": {"flags": ["avx2"]}}
    assert build_key(facts) == build_key({"machine": {"flags": ["avx2"]}, "package": "llama-cpp-python==0.3.36"})
    assert build_key(facts) != build_key({**facts, "machine": {"flags": ["avx2", "amx_tile"]}})


def test_what_changes_a_build_is_in_its_key_and_what_only_changes_its_time_is_not() -> None:
    environment = {
        "CMAKE_ARGS": "-DGGML_CUDA=on",
        "CFLAGS": "-g",
        "CXXFLAGS": "",
        "CMAKE_BUILD_PARALLEL_LEVEL": "1",
        "HOME": "/home/me",
    }
    assert settings_read(environment) == {"CMAKE_ARGS": "-DGGML_CUDA=on", "CFLAGS": "-g"}


def test_only_a_native_build_depends_on_the_processor() -> None:
    found = find_compilers([], {})
    assert "processor" in machine_facts(found, [], {})
    assert "processor" not in machine_facts(found, user_arguments({"CMAKE_ARGS": "-D GGML_NATIVE:BOOL=off"}), {})
    assert "processor" not in machine_facts(found, [], {"SOURCE_DATE_EPOCH": "0"})


def test_builds_are_kept_among_the_users_caches(tmp_path: Path) -> None:
    assert cache_root({"XDG_CACHE_HOME": str(tmp_path)}, system="linux") == tmp_path / "llstore-build"
    assert cache_root({}, system="darwin") == Path.home() / "Library/Caches/llstore-build"
    said = {"LLSTORE_BUILD_CACHE": str(tmp_path / "own"), "XDG_CACHE_HOME": str(tmp_path)}
    assert cache_root(said, system="darwin") == tmp_path / "own"


def test_a_build_is_finished_when_its_wheel_is_there(tmp_path: Path) -> None:
    folder = BuildFolder(tmp_path)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "x-1-py3-none-any.whl").touch()
    assert folder.wheel() is None
    (tmp_path / "x-1-py3-none-any.whl").touch()
    assert folder.wheel() == tmp_path / "x-1-py3-none-any.whl"
