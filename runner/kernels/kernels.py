"""The settings that choose which of llama.cpp's kernels compute, and what can be switched off among them. No I/O."""

from dataclasses import dataclass, replace

from ..engine_settings import EngineSettings

REPACK, FLASH, KV, GPU = "repack", "flash_attention", "kv_type", "gpu"
# No weights of a model have them.
UNUSED = frozenset({"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"})
PLAIN = "f16"  # the KV type that is computed without unpacking
# What is tried, in this order, when what was wanted dies: one switch, then all on the processor, then all.
ATTEMPTS = (
    frozenset[str](),
    *(frozenset({switch}) for switch in (REPACK, FLASH, KV, GPU)),
    frozenset({REPACK, FLASH, KV}),
    frozenset({REPACK, FLASH, KV, GPU}),
)


@dataclass(frozen=True, slots=True)
class Kernels:
    """How an engine computes: repacked weights, flash attention, the types of its KV cache, layers on a GPU."""

    repack: bool
    flash_attention: bool
    key_type: str = PLAIN
    value_type: str = PLAIN
    gpu: bool = False

    @classmethod
    def of(cls, settings: EngineSettings) -> "Kernels":
        """Those of an engine's settings."""
        return cls(
            repack=settings.repack,
            flash_attention=settings.flash_attention,
            key_type=settings.key_type,
            value_type=settings.value_type,
            gpu=settings.gpu_layers > 0,
        )

    def without(self, off: frozenset[str]) -> "Kernels":
        """These with some switched off. A quantized KV cache needs flash attention, and goes with it."""
        plain = KV in off or (FLASH in off and self.value_type.startswith("q"))
        return replace(
            self,
            repack=self.repack and REPACK not in off,
            flash_attention=self.flash_attention and FLASH not in off,
            key_type=PLAIN if plain else self.key_type,
            value_type=PLAIN if plain else self.value_type,
            gpu=self.gpu and GPU not in off,
        )

    def attempts(self) -> list[frozenset[str]]:
        """What to switch off, in the order in which it is tried: nothing first, and nothing that changes nothing."""
        found: dict[Kernels, frozenset[str]] = {}
        for off in ATTEMPTS:
            found.setdefault(self.without(off), off)
        return list(found.values())


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to try: a type of weights, as GGUF names it, under some settings."""

    weights: str
    kernels: Kernels


def cases(types: frozenset[str], kernels: Kernels) -> list[Case]:
    """What to try for a model whose matrices have these types."""
    return [Case(weights, kernels) for weights in sorted(types - UNUSED)] or [Case("F32", kernels)]


def switched_off(settings: EngineSettings, off: frozenset[str]) -> EngineSettings:
    """Settings with some kernels switched off."""
    kernels = Kernels.of(settings).without(off)
    return replace(
        settings,
        repack=kernels.repack,
        flash_attention=kernels.flash_attention,
        key_type=kernels.key_type,
        value_type=kernels.value_type,
        gpu_layers=settings.gpu_layers if kernels.gpu else 0,
    )
