"""The choice of settings and of a place for each layer: a plain function of a model, a machine and what is wanted."""

from collections.abc import Callable
from typing import TypeVar

from ...store.memory_need import ContextShape
from ..engine_settings import KV_TYPES, MAX_COUNT, RANGES, SPLITS, EngineSettings
from ..errors import InvalidEngine
from .facts import ModelFacts
from .layout import Layout, best, layout, most_layers
from .machine import Machine
from .placement import Choice, Placement
from .room import largest, no_room
from .tuned import Tuned
from .wanted import ENGINE, Usual, Wanted

LEAST_CONTEXT = 1024  # tokens: rather than less on GPUs alone, some layers stay on the host

_FITS = "what fits"
_FAILS = "other kernels fail here"

T = TypeVar("T", bound="int | bool | str")


def choose(
    model: ModelFacts, machine: Machine, wanted: Wanted, *, usual: Usual = ENGINE, tuned: Tuned | None = None
) -> Placement:
    """Settings and places for a model. Raises InvalidEngine for what cannot be asked, NoRoom for what does not fit."""
    return _Choosing(model, machine, wanted, usual=usual, tuned=tuned).placement()


class _Choosing:
    """The choices made so far."""

    def __init__(
        self, model: ModelFacts, machine: Machine, wanted: Wanted, *, usual: Usual, tuned: Tuned | None
    ) -> None:
        self._model, self._machine, self._wanted = model, machine, wanted
        self._usual, self._tuned = usual, tuned
        self._choices: list[Choice] = []

    def placement(self) -> Placement:
        refuse_impossible(self._model, self._machine, self._wanted)
        parallel = self._decide("parallel", self._wanted.parallel, self._usual.parallel)
        kv_type = self._decide("kv_type", self._wanted.kv_type, "f16")
        flash_attention = self._flash_attention(kv_type)
        threads = min(self._decide("threads", self._wanted.threads, self._machine.cores), self._machine.most_threads)
        batch_size = self._decide("batch_size", self._wanted.batch_size, self._usual.batch_size)
        repack = self._decide("repack", self._wanted.repack, True)
        unified = self._decide("unified", self._wanted.unified, False)
        split = self._decide("split", self._wanted.split, "layer")

        def shape(context: int) -> ContextShape:
            return ContextShape(
                context,
                slots=parallel,
                batch=batch_size,
                key_type=kv_type,
                value_type=kv_type,
                flash_attention=flash_attention,
                unified=unified,
            )

        context, found = self._place(shape, split)
        engine = EngineSettings(
            context,
            parallel=parallel,
            threads=threads,
            batch_size=batch_size,
            flash_attention=flash_attention,
            key_type=kv_type,
            value_type=kv_type,
            gpu_layers=found.gpu_layers,
            split=split,
            repack=repack,
            unified=unified,
            exact=self._wanted.exact,
        )
        limited = any(choice.name == "context_size" and choice.reason == _FITS for choice in self._choices)
        return Placement(
            engine,
            found,
            tuple(self._choices),
            self._machine,
            limited=limited,
            tuned=self._tuned,
            switched_off=self._wanted.switched_off,
        )

    def _decide(self, name: str, asked: T | None, usual: T) -> T:
        """What was asked for, else what was measured to be fastest, else what is usual."""
        value, reason = usual, "usual"
        if asked is not None:
            value, reason = asked, _FAILS if name in self._wanted.switched_off else "asked for"
        elif self._tuned and name in self._usual.tunable and name in self._tuned.settings:
            value, reason = self._tuned.settings[name], f"tuned on {self._tuned.date}"  # type: ignore[assignment]
        self._choices.append(Choice(name, value, reason, unusual=value != usual))
        return value

    def _flash_attention(self, kv_type: str) -> bool:
        problem = self._model.kv_problem(kv_type)
        if problem:
            raise InvalidEngine(f"a KV cache of {kv_type} {problem}", hint="f16, bf16 and f32 always work")
        asked, possible = self._wanted.flash_attention, self._model.flash_attention
        if asked == "on" and not possible:
            raise InvalidEngine(f"llama.cpp computes {self._model.architecture} models without flash attention")
        needed = kv_type.startswith("q")
        if asked == "off" and needed:
            raise InvalidEngine(f"a KV cache of {kv_type} needs flash attention", hint="leave out --flash-attn off")
        if asked in ("on", "off"):
            return self._decide("flash_attention", asked == "on", True)
        if needed or not possible or asked == "auto":
            reason = f"a KV cache of {kv_type} needs it" if needed else "the model can" if possible else "it cannot"
            self._choices.append(Choice("flash_attention", possible, reason))
            return possible
        return self._decide("flash_attention", None, self._usual.flash_attention)

    def _place(self, shape: Callable[[int], ContextShape], split: str) -> tuple[int, Layout]:
        """How many tokens a slot holds, and where everything lies."""
        limit = self._model.context_length or RANGES["context_size"][1]
        asked = self._wanted.context
        top = asked or min(self._usual.context, limit)
        if asked or not self._wanted.check:
            context, reason = top, "asked for" if asked else "usual"
        else:
            context, reason = self._roomiest(shape, split, top)
        found = self._layout(shape(context), split)
        if found is None:
            raise no_room(self._model, self._machine, shape(context), split=split, gpu_layers=self._wanted.gpu_layers)
        self._choices.append(Choice("context_size", context, reason))
        self._choices.append(Choice("gpu_layers", found.gpu_layers, self._why_layers(found)))
        return context, found

    def _roomiest(self, shape: Callable[[int], ContextShape], split: str, top: int) -> tuple[int, str]:
        """The context when none is asked for: rather a shorter one than layers that are not on a GPU."""
        gpus = self._machine.used_gpus
        if gpus and self._wanted.gpu_layers is None:
            all_layers = most_layers(self._model.need)

            def whole(size: int) -> bool:
                found = layout(self._model.need, shape(size), gpus, gpu_layers=all_layers, split=split)
                return found.fits(self._machine)

            context, reason = self._largest(top, whole)
            if whole(context) and context >= min(top, LEAST_CONTEXT):
                return context, reason
        return self._largest(top, lambda size: self._layout(shape(size), split) is not None)

    def _layout(self, shape: ContextShape, split: str) -> Layout | None:
        need, machine, asked, check = self._model.need, self._machine, self._wanted.gpu_layers, self._wanted.check
        found = None if asked is not None else best(need, shape, machine, split=split)
        if found or (asked is None and check):
            return found
        found = layout(need, shape, machine.used_gpus, gpu_layers=asked or 0, split=split)
        return found if found.fits(machine) or not check else None

    def _largest(self, top: int, fits: Callable[[int], bool]) -> tuple[int, str]:
        """The largest context up to `top` that fits, or the least one when none does."""
        if fits(top):
            return top, "usual"
        return largest(top, fits), _FITS

    def _why_layers(self, found: Layout) -> str:
        if self._wanted.gpu_layers is not None:
            return "asked for"
        if not self._machine.used_gpus:
            return "no GPU"
        return "all fit" if found.gpu_layers == most_layers(self._model.need) else _FITS


def refuse_impossible(model: ModelFacts, machine: Machine, wanted: Wanted) -> None:
    """Raises InvalidEngine for what no memory would make possible."""
    for name, words in (("kv_type", KV_TYPES), ("split", SPLITS)):
        value = getattr(wanted, name)
        if value is not None and value not in words:
            raise InvalidEngine(f"{name} is {value!r}; it must be one of {', '.join(words)}")
    for name, (least, most) in {**RANGES, "context": (1, MAX_COUNT)}.items():
        value = getattr(wanted, name, None)
        if value is not None and not least <= value <= most:
            raise InvalidEngine(f"{name} is {value!r}; it must be a whole number from {least} to {most}")
    if wanted.threads and wanted.threads > machine.most_threads:
        raise InvalidEngine(
            f"threads is {wanted.threads}; more than the {machine.most_threads} that this process has cores for "
            "would only wait for each other"
        )
    if wanted.gpu_layers and not machine.used_gpus:
        hint = "llstore doctor says what it can use"
        raise InvalidEngine(f"gpu_layers is {wanted.gpu_layers}, and llama.cpp can use no GPU here", hint=hint)
    longest = model.context_length
    if longest and (wanted.context or 0) > longest:
        raise InvalidEngine(f"a context of {wanted.context} tokens; the model was trained for {longest}")
