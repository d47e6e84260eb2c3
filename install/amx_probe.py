"""Whether a compiler gets AMX right. Nothing is executed: the assembly that it makes is read.

`_tile_loadconfig` of GCC before 12.4 (and 11.5, 13.3) tells the optimiser that the instruction ldtilecfg reads one
pointer, where it reads 64 bytes. The stores of rows and columns are dropped, and the program dies in its first tile.
"""

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cmake_arguments import asks_for_amx, has_accelerator, is_native, value_of
from compilers import Compilers, knows_cxx17, other_compilers, predefined

LEAVE_OUT = "-U__AMX_INT8__"  # after any -march or -mamx, too: llama.cpp's kernels ask for this macro
_ROW, _COLUMNS = 55, 30  # where the probe's row 7 and columns 7 lie in the 64 bytes
_PROBE = """#include <immintrin.h>
struct tiles { unsigned char palette, start, reserved[14]; unsigned short columns[16]; unsigned char rows[16]; };
void probe(unsigned char rows, unsigned short columns) {
  struct tiles shape = {0};
  shape.rows[7] = rows;
  shape.columns[7] = columns;
  _tile_loadconfig(&shape);
}
"""
_LOAD = re.compile(r"^\s*ldtilecfg\s+(-?\d*)\((%\w+)\)", re.MULTILINE)
_STORE = re.compile(r"^\s*mov([bw])\s+%\w+,\s*(-?\d*)\((%\w+)\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Choice:
    """The compilers that are taken, flags for C and C++, and what to say of it."""

    compilers: Compilers
    flags: tuple[str, ...] = ()
    remark: str = ""


def stores_tile_shape(assembly: str) -> bool:
    """Whether the probe's assembly (AT&T) stores a row and a column count before ldtilecfg reads them."""
    load = _LOAD.search(assembly)
    if load is None:
        return False
    start, base = int(load[1] or 0), load[2]
    stores = {
        (width, int(offset or 0) - start)
        for width, offset, register in _STORE.findall(assembly[: load.start()])
        if register == base
    }
    return {("b", _ROW), ("w", _COLUMNS)} <= stores


def is_right(compilers: Compilers) -> bool:
    command = [*compilers.cxx, "-O2", "-mamx-tile", "-S", "-o", "-", "-x", "c++", "-"]  # the kernels are C++
    made = subprocess.run(command, input=_PROBE, capture_output=True, text=True, errors="replace", check=False)
    return made.returncode == 0 and stores_tile_shape(made.stdout)


def could_have_amx(compilers: Compilers, arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether this build would hold AMX kernels: the settings ask for them, or the processor has them."""
    native = ["-march=native"] if is_native(arguments, environment) else []
    said = (value_of("CMAKE_CXX_FLAGS", arguments) or environment.get("CXXFLAGS", "")).split()
    macros = predefined(compilers, [*said, *native])
    if "__x86_64__" not in macros and "__x86_64__" not in predefined(compilers, []):
        return False
    return asks_for_amx(arguments, environment) or "__AMX_INT8__" in macros


def choose(
    compilers: Compilers,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    others: Iterable[Compilers] | None = None,
) -> Choice:
    """The given compilers where they are right or AMX is not asked of them, else others, else no AMX."""
    if not could_have_amx(compilers, arguments, environment) or is_right(compilers):
        return Choice(compilers)
    wrong = f"{compilers.name} miscompiles AMX"
    if not compilers.chosen and not has_accelerator(arguments):
        for other in other_compilers() if others is None else others:
            if knows_cxx17(other) and is_right(other):
                return Choice(replace(other, chosen=True), remark=f"{wrong}: {other.name} compiles instead")
    return Choice(compilers, (LEAVE_OUT,), f"{wrong}: it is left out of the build (gcc 14 or clang would keep it)")
