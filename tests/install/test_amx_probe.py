"""A compiler that would make AMX crash is found before anything is compiled; without AMX nothing is said."""

import stat
from pathlib import Path

from amx_probe import LEAVE_OUT, choose, stores_tile_shape
from cmake_arguments import user_arguments
from compilers import Compilers

WRONG = """
probe:
	pxor	%xmm0, %xmm0
	movaps	%xmm0, -72(%rsp)
#APP
	ldtilecfg	-72(%rsp)
#NO_APP
	ret
"""
RIGHT = """
probe:
	xorps	%xmm0, %xmm0
	movaps	%xmm0, -24(%rsp)
	movaps	%xmm0, -56(%rsp)
	movaps	%xmm0, -40(%rsp)
	movaps	%xmm0, -72(%rsp)
	movb	%dil, -17(%rsp)
	movw	%si, -42(%rsp)
	ldtilecfg	-72(%rsp)
	retq
"""
ALIGNED = """
	pushq	%rbp
	vmovaps	%ymm0, 32(%rsp)
	vmovaps	%ymm0, (%rsp)
	movb	%dil, 55(%rsp)
	movw	%si, 30(%rsp)
	ldtilecfg	(%rsp)
"""
ASKING = user_arguments({"CMAKE_ARGS": "-DGGML_NATIVE=off -DGGML_AMX_INT8=on"})


def compiler(folder: Path, name: str, assembly: str, *, macros: str = "#define __x86_64__ 1") -> Compilers:
    """A program that answers as a compiler does: macros for -E, else assembly; it takes any C++17."""
    path = folder / name
    path.write_text(
        f"#!/bin/sh\ncase \"$*\" in\n*-E*) echo '{macros}' ;;\n*-S*) cat <<'EOF'\n{assembly}\nEOF\n;;\nesac\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Compilers((str(path),), (str(path),))


def test_a_compiler_that_drops_rows_and_columns_is_wrong_and_one_that_stores_them_is_right() -> None:
    assert not stores_tile_shape(WRONG)
    assert stores_tile_shape(RIGHT)
    assert stores_tile_shape(ALIGNED)


def test_stores_after_the_instruction_or_elsewhere_do_not_count() -> None:
    head, load, tail = RIGHT.partition("\tldtilecfg	-72(%rsp)\n")
    assert not stores_tile_shape(load + head + tail)
    assert not stores_tile_shape(RIGHT.replace("(%rsp)\n\tmovw", "(%rbx)\n\tmovw"))
    assert not stores_tile_shape("")


def test_another_compiler_that_is_right_is_taken_for_a_wrong_one(tmp_path: Path) -> None:
    wrong, also, right = (compiler(tmp_path, name, text) for name, text in (("a", WRONG), ("b", WRONG), ("c", RIGHT)))
    choice = choose(wrong, ASKING, {}, others=[also, right])
    assert (choice.compilers.cxx, choice.flags) == (right.cxx, ())
    assert choice.remark == f"{wrong.name} miscompiles AMX: {right.name} compiles instead"


def test_without_a_right_compiler_amx_is_left_out(tmp_path: Path) -> None:
    wrong = compiler(tmp_path, "a", WRONG)
    choice = choose(wrong, ASKING, {}, others=[])
    assert (choice.compilers, choice.flags) == (wrong, (LEAVE_OUT,))
    assert "it is left out of the build" in choice.remark


def test_the_compiler_that_a_user_chose_or_an_accelerator_needs_stays(tmp_path: Path) -> None:
    wrong, right = compiler(tmp_path, "a", WRONG), compiler(tmp_path, "b", RIGHT)
    chosen = Compilers(wrong.c, wrong.cxx, chosen=True)
    assert choose(chosen, ASKING, {}, others=[right]).compilers == chosen
    assert choose(wrong, [*ASKING, "-DGGML_CUDA=on"], {}, others=[right]).compilers == wrong


def test_a_right_compiler_and_a_build_without_amx_are_not_spoken_of(tmp_path: Path) -> None:
    wrong, right = compiler(tmp_path, "a", WRONG), compiler(tmp_path, "b", RIGHT)
    assert choose(right, ASKING, {}).remark == ""
    assert choose(wrong, ["-DGGML_NATIVE=off"], {}).remark == ""
    assert choose(wrong, [], {}).remark == ""  # native, on a processor whose macros name no AMX
    arm = compiler(tmp_path, "c", WRONG, macros="#define __aarch64__ 1")
    assert choose(arm, ASKING, {}).remark == ""


def test_a_native_build_on_a_processor_with_amx_is_looked_at(tmp_path: Path) -> None:
    native = "#define __x86_64__ 1\n#define __AMX_INT8__ 1"
    wrong = compiler(tmp_path, "a", WRONG, macros=native)
    assert choose(wrong, [], {}, others=[]).flags == (LEAVE_OUT,)
