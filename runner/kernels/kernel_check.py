"""Trying kernels before they are used: what dies in a child process is switched off in this one."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from ..engine.crash_report import ending
from ..engine_settings import EngineSettings
from ..errors import KernelsBroken
from ..libraries import VARIABLE, library_hint
from ..notes import without_folder
from .kernel_file import KernelFile
from .kernel_trial import SECONDS, WRONG, argument
from .kernels import FLASH, GPU, KV, REPACK, Case, Kernels, cases

PROGRAM = (sys.executable, "-P", "-m", f"{__package__}.kernel_trial")
FINE = ""  # the verdict on a case that was survived
# The types that llama.cpp has kernels of its own for on some processors (AMX, repacking), and the plainest.
SURVEYED = frozenset({"Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "F16"})
# Signals that a broken kernel dies by. Another end (out of memory, killed by hand) says nothing about it.
_DEADLY = frozenset({"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGTRAP", "SIGSYS"})
_WORDS = {REPACK: "repacking", FLASH: "flash attention", KV: "the KV cache's type", GPU: "the GPU"}

_TOO_LONG = f"no end within {SECONDS} s"  # may be the machine's fault, and not that of the kernels
_SLOW_SECONDS = 2.0  # of trying that are not worth a word

Verdicts = Mapping[Case, str]
Say = Callable[[str], None]
Try = Callable[[Sequence[Case], Say], Verdicts]


def run_cases(wanted: Sequence[Case], say: Say) -> dict[Case, str]:
    """Tries cases in one child process: FINE for each that it survived, for the next one how it died.

    Those behind a death are not tried. A child that ended for a reason of its own says nothing. `say` is told when it
    takes long.
    """
    lifeline, held = os.pipe()
    try:
        child = subprocess.Popen(
            [*PROGRAM, argument(wanted), str(lifeline)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[lifeline],
        )
        try:
            printed, said = child.communicate(timeout=_SLOW_SECONDS)
        except subprocess.TimeoutExpired:
            say("trying llama.cpp's kernels on this processor …")
            printed, said = child.communicate()  # its own alarm bounds it
    finally:
        os.close(lifeline)
        os.close(held)
    survived = len(printed.split())
    found = dict.fromkeys(wanted[:survived], FINE)
    ended = _verdict(child.returncode, said)
    if ended and survived < len(wanted):
        found[wanted[survived]] = ended
    return found


def _verdict(code: int, said: bytes) -> str:
    if code == WRONG:
        return "wrong numbers"
    name = ending(code)
    if name == "SIGALRM":
        return _TOO_LONG
    reason = without_folder(said.decode("utf-8", errors="replace").strip().rpartition("\n")[2])
    if name == "SIGABRT" and reason:
        return f"{name}: {reason}"
    return name if name in _DEADLY else FINE


class KernelCheck:
    """What this machine can run, as far as it is known, and the trial of the rest.

    `say` is told in a line what is switched off when that is found out.
    """

    def __init__(self, file: KernelFile, say: Say, *, run: Try = run_cases) -> None:
        self._file, self._say, self._run = file, say, run

    def switched_off(self, types: frozenset[str], settings: EngineSettings) -> frozenset[str]:
        """What must be off for a model whose matrices have these types: some of REPACK, FLASH, KV, GPU.

        Raises KernelsBroken when llama.cpp dies whatever is off. What cannot be kept is tried again next time.
        """
        kernels = Kernels.of(settings)
        died: Verdicts = {}
        news = False
        for off in kernels.attempts():
            verdicts, fresh = self._verdicts(cases(types, kernels.without(off)))
            news = news or fresh
            if not any(verdicts.values()):
                if off and news:
                    self._say(_line(died, off))
                return off
            died = died or verdicts
        raise KernelsBroken(_dead(died), hint=_hint())

    def survey(self, types: frozenset[str], *several: EngineSettings) -> dict[str, frozenset[str]]:
        """What must be off for each type of weights under some of these settings, all of it tried anew.

        Raises KernelsBroken as above.
        """
        self._file.forget()
        found: dict[str, frozenset[str]] = {}
        for settings in several:
            for kind, off in self._surveyed(types, Kernels.of(settings)).items():
                found[kind] = found.get(kind, frozenset()) | off
        return found

    def _surveyed(self, types: frozenset[str], kernels: Kernels) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        died: dict[Case, str] = {}
        for off in kernels.attempts():
            left = types - found.keys()
            died = self._all(cases(left, kernels.without(off))) if left else {}
            found |= dict.fromkeys(left - {case.weights for case, verdict in died.items() if verdict}, off)
        if types - found.keys():
            raise KernelsBroken(_dead(died), hint=_hint())
        return found

    def _all(self, wanted: Sequence[Case]) -> dict[Case, str]:
        """The verdicts on all cases, also on those behind a death."""
        found: dict[Case, str] = {}
        while len(found) < len(wanted) and (new := self._run(wanted[len(found) :], self._say)):
            found |= new
        self._keep(found)
        return found

    def _verdicts(self, wanted: Sequence[Case]) -> tuple[Verdicts, bool]:
        """What is known of these cases, and whether it was found out just now."""
        known = {case: verdict for case, verdict in self._file.read().items() if case in wanted}
        left = [case for case in wanted if case not in known]
        if not left or any(known.values()):
            return known, False
        found = self._run(left, self._say)
        self._keep(found)
        return {**known, **found}, True

    def _keep(self, found: Verdicts) -> None:
        self._file.keep({case: verdict for case, verdict in found.items() if verdict != _TOO_LONG})


def _hint() -> str:
    if os.environ.get(VARIABLE):
        return f"{library_hint()}; llstore doctor tries again"
    build = f"CC=clang CXX=clang++ pip install --no-cache-dir --force-reinstall --no-deps {_requirement()}"
    return f"build it with another compiler: {build} (in a clone, make install); then llstore doctor tries again"


def _requirement() -> str:
    with suppress(PackageNotFoundError):
        return f"llama-cpp-python=={version('llama-cpp-python')}"
    return "llama-cpp-python"


def _line(died: Verdicts, off: frozenset[str]) -> str:
    return f"this build of llama.cpp fails on this processor ({_dead(died)}): {switches_text(off)} is off from now on"


def switches_text(off: frozenset[str]) -> str:
    """What is off, in words."""
    return " and ".join(_WORDS[switch] for switch in (REPACK, FLASH, KV, GPU) if switch in off)


def _dead(died: Verdicts) -> str:
    weights: dict[str, list[str]] = {}
    for case, verdict in died.items():
        if verdict:
            weights.setdefault(verdict, []).append(case.weights)
    return "; ".join(f"{verdict} with {', '.join(types)} weights" for verdict, types in weights.items())
