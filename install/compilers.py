"""The C and C++ compilers that CMake will take, and others that are installed."""

import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cmake_arguments import value_of
from failures import InstallError

# CMake's own order, after the compilers that Python was built with, which scikit-build-core prefers.
_C = ("cc", "gcc", "clang")
_CXX = ("c++", "g++", "clang++")
_NEWEST, _OLDEST = 30, 9  # major versions that are looked for
_GET_ONE = "install one (Debian, Ubuntu: apt-get install build-essential; macOS: xcode-select --install)"
_CXX17 = (
    "#include <string_view>\n#include <optional>\nint main() { if (std::optional<int> i; !i) return 0; return 1; }\n"
)


@dataclass(frozen=True, slots=True)
class Compilers:
    """A pair of commands, each a program and perhaps words for it; `chosen` by the user, or found."""

    c: tuple[str, ...]
    cxx: tuple[str, ...]
    chosen: bool = False

    @property
    def name(self) -> str:
        return " ".join(self.cxx)

    @property
    def environment(self) -> dict[str, str]:
        """What makes CMake take them."""
        return {"CC": shlex.join(self.c), "CXX": shlex.join(self.cxx)}


def find_compilers(arguments: Sequence[str], environment: Mapping[str, str]) -> Compilers:
    """Those of CMAKE_ARGS, of CC and CXX, or of PATH; raises InstallError when there is none."""
    c = _command("C", "CC", _C, arguments, environment)
    cxx = _command("CXX", "CXX", _CXX, arguments, environment)
    chosen = any(value_of(f"CMAKE_{language}_COMPILER", arguments) for language in ("C", "CXX"))
    return Compilers(c, cxx, chosen or bool(environment.get("CC") or environment.get("CXX")))


def _command(
    language: str, variable: str, names: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[str, ...]:
    said = value_of(f"CMAKE_{language}_COMPILER", arguments)
    words = [said] if said else shlex.split(environment.get(variable, ""))
    spoken = {"C": "C", "CXX": "C++"}[language]
    if words and not shutil.which(words[0]):
        raise InstallError(f"there is no {spoken} compiler {words[0]}", hint=f"set {variable} to one that is installed")
    pythons = (sysconfig.get_config_var(variable) or "").split()[:1]
    found = words or [path for name in [*pythons, *names] if (path := shutil.which(name))][:1]
    if not found:
        raise InstallError(f"there is no {spoken} compiler ({', '.join(names)})", hint=f"{_GET_ONE}, and run it again")
    return tuple(found)


def other_compilers() -> Iterator[Compilers]:
    """The installed pairs with a version in their name, gcc's and the newest first."""
    for c, cxx in (("gcc", "g++"), ("clang", "clang++")):
        for version in range(_NEWEST, _OLDEST - 1, -1):
            pair = shutil.which(f"{c}-{version}"), shutil.which(f"{cxx}-{version}")
            if pair[0] and pair[1]:
                yield Compilers((pair[0],), (pair[1],))


def knows_cxx17(compilers: Compilers) -> bool:
    command = [*compilers.cxx, "-std=c++17", "-x", "c++", "-fsyntax-only", "-"]
    return subprocess.run(command, input=_CXX17, capture_output=True, text=True, check=False).returncode == 0


def version(command: Sequence[str]) -> str:
    """All that a compiler says of itself, which changes with every release."""
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, errors="replace", check=False)
    return told.stdout.strip()


def require_cxx17(compilers: Compilers) -> None:
    """Raises InstallError for a compiler that is too old for llama.cpp."""
    if not knows_cxx17(compilers):
        first = version(compilers.cxx).partition("\n")[0] or "of unknown version"
        raise InstallError(
            f"{compilers.name} ({first}) cannot compile C++17",
            hint="install g++ 9 or clang 10 or later with its C++ library, or name one: CC=gcc-12 CXX=g++-12",
        )


def predefined(compilers: Compilers, flags: Sequence[str]) -> str:
    """The macros that the C++ compiler defines by itself under these flags; empty where it refuses them."""
    command = [*compilers.cxx, *flags, "-dM", "-E", "-x", "c++", "/dev/null"]
    told = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return told.stdout if told.returncode == 0 else ""
