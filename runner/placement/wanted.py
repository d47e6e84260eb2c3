"""What is asked of a placement, and what is usual where nothing is."""

from dataclasses import dataclass, replace
from typing import Literal

from ..engine_settings import BATCH
from ..kernels.kernels import FLASH, GPU, KV, PLAIN, REPACK

ENGINE_SLOTS = 16
ENGINE_CONTEXT = 4096  # tokens a slot, where the model holds as many and memory too

TUNABLE = frozenset({"threads", "batch_size", "repack", "unified", "flash_attention"})
# More threads compute the same; the others may change the last bits of a logit, and so a text.
HARMLESS = frozenset({"threads"})


FlashAttention = Literal["on", "off", "auto"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for; None leaves the choice. Flash attention "auto" is on where the model can.

    `check` False places a model even where it seems not to fit. `switched_off` are the kernels that fail here
    (kernel_check), whose settings stand above in place of what was asked for.
    """

    context: int | None = None
    parallel: int | None = None
    kv_type: str | None = None
    flash_attention: FlashAttention | None = None
    gpu_layers: int | None = None
    split: str | None = None
    threads: int | None = None
    batch_size: int | None = None
    repack: bool | None = None
    unified: bool | None = None
    exact: bool = False
    check: bool = True
    switched_off: frozenset[str] = frozenset()

    def refused(self, off: frozenset[str]) -> frozenset[str]:
        """Those of the kernels that fail which were asked for by name."""
        asked = {
            REPACK: self.repack is True,
            FLASH: self.flash_attention == "on",
            KV: self.kv_type not in (None, PLAIN),
            GPU: bool(self.gpu_layers),
        }
        return frozenset(switch for switch in off if asked[switch])

    def without(self, off: frozenset[str]) -> "Wanted":
        """This, where some kernels fail."""
        return replace(
            self,
            repack=False if REPACK in off else self.repack,
            flash_attention="off" if FLASH in off else self.flash_attention,
            kv_type=PLAIN if off & {KV, FLASH} else self.kv_type,
            gpu_layers=0 if GPU in off else self.gpu_layers,
            switched_off=off,
        )


NOTHING = Wanted()


@dataclass(frozen=True, slots=True)
class Usual:
    """What is chosen where nothing is asked for: at most `context` tokens a slot, and what tuning may change."""

    context: int = ENGINE_CONTEXT
    parallel: int = ENGINE_SLOTS
    flash_attention: bool = True
    batch_size: int = BATCH
    tunable: frozenset[str] = TUNABLE


ENGINE = Usual()
