"""What the user's CMAKE_ARGS say: the last -D of a name counts, as CMAKE_ARGS are read after our own settings."""

import re
import shlex
from collections.abc import Mapping, Sequence

from failures import InstallError

_OFF = {"", "0", "OFF", "NO", "FALSE", "N", "IGNORE", "NOTFOUND"}
_DEFINITION = re.compile(r"^-D([A-Za-z0-9_]+)(?::[A-Za-z]+)?=(.*)$", re.DOTALL)
# A definition, an option of one letter that its value may follow, or a long option.
_FLAG = re.compile(r"-(?:D[^=]+=|[UGTACSBWLN]|-\w)")
_WITH_VALUE = ("-U", "-G", "-T", "-A", "-C", "-S", "-B", "--toolchain", "--preset", "--install-prefix")
_UNUSED = re.compile(r"Manually-specified variables were not used by the project:\n\n((?: +\S+\n)+)")
# Their compilers accept only some host compilers, so the host compiler is not changed for them.
_ACCELERATORS = ("GGML_CUDA", "GGML_HIP", "GGML_MUSA", "GGML_SYCL")


def user_arguments(environment: Mapping[str, str]) -> list[str]:
    """The words of CMAKE_ARGS, read as a shell reads them; raises InstallError for what CMake would not read."""
    try:
        arguments = shlex.split(re.sub(r"-D\s+", "-D", environment.get("CMAKE_ARGS", "")))
    except ValueError as error:
        raise InstallError(f"CMAKE_ARGS cannot be read: {error}", hint="close the quote in CMAKE_ARGS") from error
    for before, word in zip(["", *arguments], arguments, strict=False):
        if before not in _WITH_VALUE and not _FLAG.match(word):
            hint = "write -DNAME=VALUE, and quotes around it where it holds spaces"
            raise InstallError(f"CMAKE_ARGS: {word!r} is no option of CMake", hint=hint)
    return arguments


def unused_variables(log: str, arguments: Sequence[str]) -> list[str]:
    """Those variables of CMAKE_ARGS that the project did not read, by what CMake wrote in the log."""
    told = {name for block in _UNUSED.findall(log) for name in block.split()}
    return sorted(name for name in told if value_of(name, arguments) is not None)


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
