"""llama-cpp-python as a wheel; of llama.cpp only what is loaded is compiled: ggml's libraries and llama's.

The archive of the package index is built as it is. scikit-build-core is pointed at llama.cpp's own CMake project in it:
the package's project forces all of llama.cpp's `common` on, and installs what it would leave out.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amx_probe import Choice, choose
from build_folder import BuildFolder, cache_root, exclusive
from build_key import build_key, machine_facts, settings_read
from cmake_arguments import unused_variables, user_arguments, value_of
from compilers import find_compilers, require_cxx17, version
from failures import InstallError
from locked import LOCK, TOOLS, Pin, pins
from logged_run import Command, run_logged, say
from uv_command import Uv, write_requirements

PACKAGE = "llama-cpp-python"
# README.md and docs/build.md have the same settings for a plain `pip install`; a test compares them.
SETTINGS = {
    "SKBUILD_CMAKE_SOURCE_DIR": "vendor/llama.cpp",
    "SKBUILD_WHEEL_INSTALL_DIR": "llama_cpp",
    "SKBUILD_BUILD_TARGETS": "llama",  # and all it links: ggml, and each backend that CMAKE_ARGS switches on
    "SKBUILD_CMAKE_DEFINE": "LLAMA_BUILD_COMMON=OFF;LLAMA_BUILD_APP=OFF;LLAMA_ALL_WARNINGS=OFF;"
    "CMAKE_INSTALL_LIBDIR=lib;CMAKE_INSTALL_BINDIR=lib;CMAKE_INSTALL_RPATH=$ORIGIN;CMAKE_INSTALL_RPATH_USE_LINK_PATH=ON",
}
_ORIGIN_OF = {"darwin": "@loader_path"}  # how a library names its own folder
_BUILD = "import sys; from scikit_build_core.build import build_wheel; build_wheel(sys.argv[1])"
_OBJECT = re.compile(r"^build (\S+\.o): \w+_COMPILER__(?:ggml|llama_|llama-)", re.MULTILINE)
_OLDEST_CMAKE = (3, 21)


@dataclass(frozen=True, slots=True)
class Plan:
    """A build that is decided: where, of what, under which environment."""

    folder: BuildFolder
    pin: Pin
    environment: dict[str, str]
    remark: str = ""


def plan_build(environment: Mapping[str, str]) -> Plan:
    """Looks at compilers, processor and settings; raises InstallError where nothing could be compiled."""
    arguments = user_arguments(environment)
    choice = choose(find_compilers(arguments, environment), arguments, environment)
    require_cxx17(choice.compilers)
    pin = pins(LOCK.read_text())[PACKAGE]
    settings = build_settings(choice, arguments, environment)
    facts = {
        "package": pin.requirement,
        "tools": TOOLS.read_text(),
        "settings": settings_read({**environment, **settings}),
        "machine": machine_facts(choice.compilers, arguments, environment),
    }
    path = cache_root(environment) / f"{pin.name}-{pin.version}-{build_key(facts)}"
    return Plan(BuildFolder(path), pin, {**environment, **settings}, choice.remark)


def build_settings(choice: Choice, arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Our settings, the user's after them: of two that differ, the later one counts."""
    settings = dict(SETTINGS)
    origin = _ORIGIN_OF.get(sys.platform, "$ORIGIN")
    defines = [settings["SKBUILD_CMAKE_DEFINE"].replace("$ORIGIN", origin), environment.get("SKBUILD_CMAKE_DEFINE", "")]
    settings["SKBUILD_CMAKE_DEFINE"] = ";".join(filter(None, defines))
    # Said always, so that those which were looked at are those that compile; a compiler of CMAKE_ARGS rules.
    settings |= choice.compilers.environment
    if choice.flags:
        added = " ".join(choice.flags)
        for language, variable in (("C", "CFLAGS"), ("CXX", "CXXFLAGS")):
            settings[variable] = f"{environment.get(variable, '')} {added}".strip()
            if said := value_of(f"CMAKE_{language}_FLAGS", arguments):  # CMake then reads no CFLAGS
                define = shlex.quote(f"-DCMAKE_{language}_FLAGS={said} {added}")
                settings["CMAKE_ARGS"] = f"{settings.get('CMAKE_ARGS', environment['CMAKE_ARGS'])} {define}"
    return settings


def llama_wheel(plan: Plan, uv: Uv) -> Path:
    """The wheel of this plan: kept from an earlier build, or compiled now. Raises InstallError."""
    folder = plan.folder
    if plan.remark:
        say(plan.remark)
    with exclusive(folder) as lock:
        if kept := folder.wheel():
            say(f"llama.cpp from {kept}: nothing to compile")
            _Progress(plan).say_unused()
            return kept
        compiled = count_objects(folder.objects)
        begun = f"compiling llama.cpp goes on, {compiled} are there" if compiled else "compiling llama.cpp"
        say(f"{begun}; its log: {folder.log}")
        _make_tools(folder, uv)
        _unpack_source(plan, uv)
        return _compile(plan, lock)


def _make_tools(folder: BuildFolder, uv: Uv) -> None:
    """scikit-build-core, and those of CMake and ninja that this machine lacks, in an environment of their own."""
    names = ["scikit-build-core"]
    names += ["ninja"] if not shutil.which("ninja") else []
    names += ["cmake"] if not _has_cmake() else []
    if not (folder.tools / "bin" / "python").exists():
        uv.make_environment(folder.tools, log=folder.log)
    uv.install(names, python=folder.tools / "bin" / "python", lock=TOOLS, log=folder.log)


def _has_cmake() -> bool:
    path = shutil.which("cmake")
    told = version([path]) if path else ""
    match = re.search(r"version (\d+)\.(\d+)", told)
    return match is not None and (int(match[1]), int(match[2])) >= _OLDEST_CMAKE


def _unpack_source(plan: Plan, uv: Uv) -> None:
    """The archive of the lock's hash, unpacked once: a build that goes on finds its files unchanged."""
    folder = plan.folder
    if folder.source.exists():
        return
    with write_requirements([plan.pin]) as requirements:
        uv.download_archive(requirements, folder, environment=plan.environment)
    archive = next(folder.path.glob("*.tar.gz"))
    part = folder.path / "source.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    command = Command(["tar", "-xzf", archive, "-C", part, "--strip-components=1"], f"{archive.name} was not unpacked")
    run_logged(command, log=folder.log, progress=lambda seconds: f"unpacking llama.cpp, {seconds} s")
    part.rename(folder.source)
    archive.unlink()


def _compile(plan: Plan, lock: int) -> Path:
    folder = plan.folder
    made = folder.path / "made"
    path = os.pathsep.join([str(folder.tools / "bin"), plan.environment.get("PATH", os.defpath)])
    environment = {**plan.environment, "PATH": path, "SKBUILD_BUILD_DIR": str(folder.objects)}
    words: list[str | Path] = [folder.tools / "bin" / "python", "-c", _BUILD, made]
    # As standard input, which is empty: Python closes all other descriptors where a process starts another.
    command = Command(words, "llama.cpp was not compiled", environment, folder.source, stdin=lock)
    progress = _Progress(plan)
    try:
        run_logged(command, log=folder.log, progress=progress)
    except InstallError:
        if not (folder.objects / "build.ninja").exists():
            folder.empty()  # refused before anything was compiled: there is nothing to go on with
        raise
    progress.say_unused()
    wheel = next(made.glob("*.whl"))
    say(f"compiled llama.cpp: {count_objects(folder.objects)}")
    kept = wheel.replace(folder.path / wheel.name)
    shutil.rmtree(made)
    folder.empty()
    return kept


@dataclass(slots=True)
class _Progress:
    """How far a build is, and once, as soon as CMake knows, which variables of CMAKE_ARGS change nothing."""

    plan: Plan
    told: bool = False

    def __call__(self, seconds: int) -> str:
        self.say_unused()
        return progress_line(self.plan.folder.objects, seconds)

    def say_unused(self) -> None:
        log = self.plan.folder.log
        text = log.read_text(errors="replace") if log.exists() else ""
        names = unused_variables(text, user_arguments(self.plan.environment))
        if names and not self.told:
            say(f"CMake made no use of {', '.join(names)}: look at its spelling in CMAKE_ARGS")
            self.told = True


def progress_line(objects: Path, seconds: int) -> str:
    compiled = count_objects(objects)
    return f"compiled {compiled}, {seconds} s" if compiled else f"configuring llama.cpp, {seconds} s"


def count_objects(objects: Path) -> str:
    """ "35 of 70 objects", counted on disk: right also for a build that goes on. Empty before it is configured."""
    try:
        names = _OBJECT.findall((objects / "build.ninja").read_text())
    except OSError:
        return ""
    return f"{sum((objects / name).exists() for name in names)} of {len(names)} objects"
