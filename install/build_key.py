"""What a build of llama.cpp depends on, as one key: equal keys, equal libraries."""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from cmake_arguments import is_native
from compilers import Compilers, predefined, version

_KEY_LENGTH = 16  # hex digits
# What CMake, scikit-build-core and compilers read besides CMAKE_ARGS.
_READ_BY_BUILDS = ("CMAKE_", "SKBUILD_", "CUDA", "HIP", "ROCM", "GGML_")
_READ_BY_COMPILERS = (
    "CFLAGS",
    "CXXFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "CPATH",
    "SOURCE_DATE_EPOCH",
    "MACOSX_DEPLOYMENT_TARGET",
    "ARCHFLAGS",
)
_NO_MATTER = ("CMAKE_BUILD_PARALLEL_LEVEL", "CUDA_VISIBLE_DEVICES")  # change how long it takes, or what runs it
_CPU_LINES = ("model name", "flags", "Features", "CPU part", "CPU implementer")


def build_key(facts: Mapping[str, object]) -> str:
    """A name for these facts that is short enough for a folder."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]


def settings_read(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of the environment that changes what is built."""
    return {
        name: value
        for name, value in environment.items()
        if value and (name.startswith(_READ_BY_BUILDS) or name in _READ_BY_COMPILERS) and name not in _NO_MATTER
    }


def machine_facts(compilers: Compilers, arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, object]:
    """This machine's part: system, compilers, and for a native build the processor."""
    facts: dict[str, object] = {
        "platform": sysconfig.get_platform(),
        "libc": platform.libc_ver(),
        "compilers": [[*command, version(command)] for command in (compilers.c, compilers.cxx)],
        "toolkits": {name: version([name]) for name in ("nvcc", "hipcc", "icpx", "glslc") if shutil.which(name)},
    }
    if is_native(arguments, environment):
        flag = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"
        facts["processor"] = [sorted(predefined(compilers, [flag]).splitlines()), _processor()]
    return facts


def _processor() -> list[str]:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return [subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()]
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return [platform.processor()]
    return sorted({line for line in lines if line.startswith(_CPU_LINES)})
