"""How llama.cpp is set up for a generation, as far as it can change what is generated: plain numbers, checked once."""

from dataclasses import dataclass, field

from .errors import InvalidEngine
from .threads import usable_cores

BATCH = 512  # tokens in one llama_decode; more than n_batch aborts
MAX_COUNT = 2**31 - 1

# The types of a KV cache that llama.cpp offers, as numbers of enum ggml_type.
KV_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}

# How several GPUs share a model, as numbers of enum llama_split_mode.
SPLITS = {"none": 0, "layer": 1, "row": 2}

# Field: least, most. ggml takes at most 512 threads (GGML_MAX_N_THREADS) and aborts beyond.
RANGES = {
    "context_size": (1, MAX_COUNT),
    "parallel": (1, 256),  # LLAMA_MAX_SEQ
    "threads": (1, 512),
    "batch_size": (1, 65536),
    "gpu_layers": (0, MAX_COUNT),
}


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The settings of one engine.

    `context_size` is the tokens that each of `parallel` slots holds, `batch_size` those of one llama_decode, `threads`
    are used for prefill and decode alike, `gpu_layers` counts the layers on a GPU, the output's among them, and
    `split` says how several GPUs share them. `repack` copies weights into a layout that the CPU computes faster,
    `unified` puts all slots into one pool of KV cells, `swa_full` keeps the whole context of sliding-window layers,
    `exact` makes an answer independent of who shares the batch. Raises InvalidEngine.
    """

    context_size: int
    parallel: int = 1
    threads: int = field(default_factory=lambda: min(usable_cores(), RANGES["threads"][1]))
    batch_size: int = BATCH
    # Measured: with it on, greedy text differs from llama-cpp-python's default.
    flash_attention: bool = False
    key_type: str = "f16"
    value_type: str = "f16"
    gpu_layers: int = 0
    split: str = "layer"
    repack: bool = True
    unified: bool = False
    swa_full: bool = True
    exact: bool = False

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise InvalidEngine(f"{name} is {value!r}; it must be a whole number from {least} to {most}")
        for name, words in (("key_type", KV_TYPES), ("value_type", KV_TYPES), ("split", SPLITS)):
            value = getattr(self, name)
            if value not in words:
                raise InvalidEngine(f"{name} is {value!r}; it must be one of {', '.join(words)}")
        for name in ("flash_attention", "repack", "unified", "swa_full", "exact"):
            value = getattr(self, name)
            if type(value) is not bool:
                raise InvalidEngine(f"{name} is {value!r}; it must be true or false")
