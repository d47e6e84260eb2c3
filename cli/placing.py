"""What the flags of an engine mean for a model on this machine."""

from ..runner.kernels.kernel_check import KernelCheck, switches_text
from ..runner.kernels.kernel_file import FILE as KERNELS
from ..runner.kernels.kernel_file import KernelFile
from ..runner.placement.choose import choose
from ..runner.placement.facts import ModelFacts
from ..runner.placement.machine import measured
from ..runner.placement.placement import Placement
from ..runner.placement.tuned import Tuned
from ..runner.placement.tuned_file import FILE, TunedFile
from ..runner.placement.wanted import ENGINE, Usual, Wanted
from ..store import Digest, Manifest, Store
from ..store.headers import headers
from . import settings
from .output import remark


def placed(
    store: Store, manifest: Manifest, wanted: Wanted, *, quiet: bool, usual: Usual = ENGINE, as_tuned: bool = True
) -> Placement:
    """How and where a model runs: as asked for, as it was tuned, as is usual, within what is free, with kernels that
    work here.

    Raises InvalidEngine, NoRoom and KernelsBroken, and what reading a header raises.
    """
    model, machine = ModelFacts.of(headers(store, manifest)), measured()
    known = tuned(manifest.model) if as_tuned else None
    found = choose(model, machine, wanted, usual=usual, tuned=known)
    off = kernel_check(quiet=quiet).switched_off(model.types, found.engine)
    if refused := wanted.refused(off):
        remark(f"{switches_text(refused)} cannot be had: it fails on this processor (llstore doctor)", quiet=quiet)
    return choose(model, machine, wanted.without(off), usual=usual, tuned=known) if off else found


def kernel_check(*, quiet: bool) -> KernelCheck:
    """What is known of this build's kernels on this machine; what is found out is said on stderr."""
    return KernelCheck(kernel_file(), lambda line: remark(line, quiet=quiet))


def kernel_file() -> KernelFile:
    """Which kernels fail here: of the data folder, which no project chooses."""
    return KernelFile(settings.data_folder() / KERNELS)


def remark_tuned(placement: Placement, *, quiet: bool) -> None:
    """Say which settings are others than usual, for a measurement made them so."""
    if placement.tuned and placement.tuned_settings:
        said = ", ".join(f"{name} {value}" for name, value in placement.tuned_settings.items())
        remark(f"tuned on {placement.tuned.date}: {said}", quiet=quiet)


def tuned(model: Digest) -> Tuned | None:
    """What `llstore tune` measured of a model on this machine."""
    file = tuned_file()
    if not file.exists:
        return None
    from ..runner.placement.identity import identity, key

    return file.find(model, key(identity()))


def tuned_file() -> TunedFile:
    """This user's figures: of the data folder, which no project chooses."""
    return TunedFile(settings.data_folder() / FILE)
