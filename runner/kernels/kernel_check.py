"""Trying kernels before they are used: what dies in a child process is switched off in this one."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from ..engine.crash_report import ending
from ..engine_settings import EngineSettings
from ..errors import KernelsBroken
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

Verdicts = Mapping[Case, str]
Try = Callable[[Sequence[Case]], Verdicts]


def run_cases(wanted: Sequence[Case]) -> dict[Case, str]:
    """Tries cases in one child process: FINE for each that it survived, for the next one how it died.

    Those behind a death are not tried. A child that ended for a reason of its own says nothing.
    """
    ran = subprocess.run(
        [*PROGRAM, argument(wanted)], stdin=subprocess.DEVNULL, capture_output=True, timeout=4 * SECONDS, check=False
    )
    survived = len(ran.stdout.split())
    found = dict.fromkeys(wanted[:survived], FINE)
    ended = _verdict(ran.returncode)
    if ended and survived < len(wanted):
        found[wanted[survived]] = ended
    return found


def _verdict(code: int) -> str:
    if code == WRONG:
        return "wrong numbers"
    name = ending(code)
    if name == "SIGALRM":
        return f"no end within {SECONDS} s"
    return name if name in _DEADLY else FINE


class KernelCheck:
    """What this machine can run, as far as it is known, and the trial of the rest.

    `say` is told in a line what is switched off when that is found out.
    """

    def __init__(self, file: KernelFile, say: Callable[[str], None], *, run: Try = run_cases) -> None:
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
        raise KernelsBroken(_dead(died))

    def survey(self, types: frozenset[str], settings: EngineSettings) -> dict[str, frozenset[str]]:
        """What must be off for each type of weights, all of them tried anew. Raises KernelsBroken as above."""
        self._file.forget()
        kernels = Kernels.of(settings)
        found: dict[str, frozenset[str]] = {}
        died: dict[Case, str] = {}
        for off in kernels.attempts():
            left = types - found.keys()
            died = self._all(cases(left, kernels.without(off))) if left else {}
            found |= dict.fromkeys(left - {case.weights for case, verdict in died.items() if verdict}, off)
        if types - found.keys():
            raise KernelsBroken(_dead(died))
        return found

    def _all(self, wanted: Sequence[Case]) -> dict[Case, str]:
        """The verdicts on all cases, also on those behind a death."""
        found: dict[Case, str] = {}
        while len(found) < len(wanted) and (new := self._run(wanted[len(found) :])):
            found |= new
        self._file.keep(found)
        return found

    def _verdicts(self, wanted: Sequence[Case]) -> tuple[Verdicts, bool]:
        """What is known of these cases, and whether it was found out just now."""
        known = {case: verdict for case, verdict in self._file.read().items() if case in wanted}
        left = [case for case in wanted if case not in known]
        if not left or any(known.values()):
            return known, False
        found = self._run(left)
        self._file.keep(found)
        return {**known, **found}, True


def _line(died: Verdicts, off: frozenset[str]) -> str:
    what = " and ".join(_WORDS[switch] for switch in (REPACK, FLASH, KV, GPU) if switch in off)
    return f"this build of llama.cpp fails on this processor ({_dead(died)}): {what} is off from now on"


def _dead(died: Verdicts) -> str:
    weights: dict[str, list[str]] = {}
    for case, verdict in died.items():
        if verdict:
            weights.setdefault(verdict, []).append(case.weights)
    return "; ".join(f"{verdict} with {', '.join(types)} weights" for verdict, types in weights.items())
