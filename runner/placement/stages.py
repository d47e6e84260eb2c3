"""What tuning tries, and how it decides: plain functions of measured speeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import median

from ..engine_settings import EngineSettings
from .machine import Machine
from .tuned import Speeds
from .wanted import Wanted

# By less than this, one setting is not faster than another: runs of the same differ as much.
MARGIN = 1.02
ROUNDS = 3  # of trials, at least, to say anything
BATCHES = (128, 256, 512, 1024, 2048)

Values = Mapping[str, int | bool]


@dataclass(frozen=True, slots=True)
class Stage:
    """Settings that are tried together; `share` is the part of all the time that they may take."""

    name: str
    candidates: tuple[Values, ...]
    share: float


def stages(base: EngineSettings, wanted: Wanted, machine: Machine, *, prompt: int, on_gpu: bool) -> list[Stage]:
    """What to try for a model with `base` settings, a prompt of so many tokens at hand; not what was asked for."""
    layouts = _candidates(
        {
            "unified": (False, True) if wanted.unified is None and base.parallel > 1 else (),
            # A quantized cache needs it, and where the model does without, it is off.
            "flash_attention": (True, False)
            if wanted.flash_attention is None and base.flash_attention and not base.key_type.startswith("q")
            else (),
        }
    )
    found = [
        Stage("KV layout", layouts, 0.25),
        Stage("repacking", _candidates({"repack": () if wanted.repack is not None or on_gpu else (True, False)}), 0.15),
        Stage("threads", _candidates({"threads": () if wanted.threads else _threads(machine)}), 0.15),
        Stage("batch size", _candidates({"batch_size": () if wanted.batch_size else _batches(prompt)}), 0.2),
    ]
    return [stage for stage in found if len(stage.candidates) > 1]


def merged(base: EngineSettings, values: Values) -> EngineSettings:
    """`base` with these values."""
    return replace(base, **values)  # type: ignore[arg-type]


def middle(found: Sequence[Speeds]) -> Speeds:
    """The median of each speed."""
    return Speeds(*(median(getattr(speeds, name) for speeds in found) for name in ("prompt", "one", "all")))


def gain(speeds: Speeds, than: Speeds) -> float:
    """How many times as fast, the geometric mean of the three."""
    return math.prod((speeds.prompt / than.prompt, speeds.one / than.one, speeds.all / than.all)) ** (1 / 3)


def clearly_faster(found: Sequence[Speeds], than: Sequence[Speeds]) -> bool:
    """Whether one was faster than another in most of their rounds, and by enough; of few rounds nothing follows.

    Each round is compared in itself, for what else a machine does comes and goes.
    """
    gains = [gain(*pair) for pair in zip(found, than, strict=True)]
    return len(gains) >= ROUNDS and median(gains) >= MARGIN and sum(one > 1 for one in gains) * 3 >= len(gains) * 2


def fastest(found: Sequence[Sequence[Speeds]]) -> int:
    """Which of some candidates is fastest, by the speeds of its rounds; the first, which is in use, unless clearly."""
    current = found[0]
    better = [n for n, speeds in enumerate(found) if n and clearly_faster(speeds, current)]
    return max(better, key=lambda n: gain(middle(found[n]), middle(current)), default=0)


def _candidates(values: Mapping[str, Sequence[int | bool]]) -> tuple[Values, ...]:
    tried = {name: options for name, options in values.items() if options}
    return tuple(dict(zip(tried, one, strict=True)) for one in product(*tried.values())) if tried else ()


def _threads(machine: Machine) -> list[int]:
    return sorted({1, max(1, machine.cores // 2), machine.cores, machine.most_threads})


def _batches(prompt: int) -> list[int]:
    # A batch larger than the prompt computes it in one go, as one of its size does.
    return [size for size in BATCHES if size <= prompt]
