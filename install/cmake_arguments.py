"""What the user's CMAKE_ARGS say: the last -D of a name counts, as CMAKE_ARGS are read after our own settings."""

import re
import shlex
from collections.abc import Mapping, Sequence

_OFF = {"", "0", "OFF", "NO", "FALSE", "N", "IGNORE", "NOTFOUND"}
_DEFINITION = re.compile(r"^-D([A-Za-z0-9_]+)(?::[A-Za-z]+)?=(.*)$", re.DOTALL)
# Their compilers accept only some host compilers, so the host compiler is not changed for them.
_ACCELERATORS = ("GGML_CUDA", "GGML_HIP", "GGML_MUSA", "GGML_SYCL")


def user_arguments(environment: Mapping[str, str]) -> list[str]:
    """The words of CMAKE_ARGS, read as a shell reads them. Raises ValueError for an open quote."""
    return shlex.split(environment.get("CMAKE_ARGS", "").replace("-D ", "-D"))


def value_of(name: str, arguments: Sequence[str]) -> str | None:
    """What `-DNAME=value` says, None where nothing does."""
    found = [match[2] for word in arguments if (match := _DEFINITION.match(word)) and match[1] == name]
    return found[-1] if found else None


def is_on(name: str, arguments: Sequence[str], *, default: bool = False) -> bool:
    """Whether CMake takes that value for true."""
    value = value_of(name, arguments)
    return default if value is None else value.upper() not in _OFF and not value.upper().endswith("-NOTFOUND")


def is_native(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether ggml compiles for this very processor, which is its default outside reproducible builds."""
    return is_on("GGML_NATIVE", arguments, default="SOURCE_DATE_EPOCH" not in environment)


def has_accelerator(arguments: Sequence[str]) -> bool:
    return any(is_on(name, arguments) for name in _ACCELERATORS)


def asks_for_amx(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether these settings name AMX, for whichever processor they are meant."""
    named = any(is_on(name, arguments) for name in ("GGML_AMX_TILE", "GGML_AMX_INT8", "GGML_CPU_ALL_VARIANTS"))
    flags = " ".join([*arguments, environment.get("CFLAGS", ""), environment.get("CXXFLAGS", "")])
    return named or re.search(r"-mamx-(tile|int8)|-march=(sapphire|granite|diamond)rapids", flags) is not None
