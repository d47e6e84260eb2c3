"""Finding the fastest settings of a model on this machine: interleaved trials, medians, within a bounded time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from ...store.closing import Closing
from ..engine_settings import EngineSettings
from ..llama.model import LlamaModel, Loading
from .placement import Placement
from .stages import ROUNDS, Stage, Values, clearly_faster, fastest, merged, middle, stages
from .trial import FILLED, WARM, Work, step_seconds, trial
from .tuned import SETTINGS, Speeds, Tuned
from .wanted import Wanted

CONFIRM = 0.15  # of the time, for the chosen settings against the usual ones
STEPS = 0.15  # of the time, for steps of every number of sequences
TRIALS = 60  # about as many as there is time for
MOST = Work(prompt=1024, one=48, all=32)
LEAST = Work(prompt=64, one=4, all=4)

Say = Callable[[str], None]


def tune(files: Sequence[Path], placement: Placement, wanted: Wanted, *, seconds: float, say: Say) -> Tuned:
    """Measure for about so many seconds. `placement` is the one without what was tuned before; `say` is told of stages.

    Raises LoadFailed and DecodeFailed.
    """
    with _Tuning(files, placement, seconds) as tuning:
        return tuning.run(wanted, say)


class _Tuning(Closing):
    """The models that are loaded, and what is known so far."""

    def __init__(self, files: Sequence[Path], placement: Placement, seconds: float) -> None:
        self._files, self._placement, self._seconds = files, placement, seconds
        self._models: dict[bool, LlamaModel] = {}
        self._end = time.perf_counter() + seconds
        # A stage that is late may finish its rounds, up to here.
        self._latest = self._end + seconds / 4
        self._work = LEAST
        self._base = placement.engine

    def close(self) -> None:
        """Frees the models."""
        for model in self._models.values():
            model.close()
        self._models.clear()

    def run(self, wanted: Wanted, say: Say) -> Tuned:
        usual = self._calibrated()
        # Repacked weights are those of the layers on the host, few beside those on a GPU.
        on_gpu = self._placement.layout.host < self._placement.layout.total // 4
        planned = stages(usual, wanted, self._placement.machine, prompt=self._work.prompt, on_gpu=on_gpu)
        left = sum(stage.share for stage in planned) + CONFIRM + STEPS
        chosen: dict[str, int | bool] = {}
        for stage in planned:
            candidates = [dict(values) for values in _current_first(stage, usual, chosen)]
            settings = [merged(usual, {**chosen, **values}) for values in candidates]
            found = self._rounds(settings, stage.share / left)
            left -= stage.share
            if len(found[0]) >= ROUNDS:
                best = fastest(found)
                chosen |= candidates[best]
                say(_line(stage, candidates[best], middle(found[best])))
            else:
                say(f"{stage.name}: not tried often enough to tell; more --seconds would")
        return self._confirmed(usual, chosen, CONFIRM / left)

    def _calibrated(self) -> EngineSettings:
        """The usual settings, with a context for as much work as there is time for."""
        base, room = self._base, self._base.context_size
        first = replace(base, context_size=min(room, LEAST.context))
        least = Work(min(LEAST.prompt, first.context_size), 1, 1) if first.context_size < LEAST.context else LEAST
        speeds = trial(self._model(base.repack), first, least)
        each = self._seconds / TRIALS
        work = Work(
            prompt=_within(each * 0.5 * speeds.prompt - FILLED - WARM, least.prompt, MOST.prompt),
            one=_within(each * 0.2 * speeds.one, least.one, MOST.one),
            all=_within(each * 0.3 * speeds.all / base.parallel, least.all, MOST.all),
        )
        # What is measured fits where a slot of the usual size fits.
        work = replace(work, prompt=min(work.prompt, room))
        self._work = work if work.context <= room else least
        return replace(base, context_size=min(room, self._work.context))

    def _rounds(self, settings: Sequence[EngineSettings], share: float) -> list[list[Speeds]]:
        """The speeds of each, round by round, for its share of the time that is left."""
        until = time.perf_counter() + (self._end - time.perf_counter()) * share
        found: list[list[Speeds]] = [[] for _ in settings]
        while time.perf_counter() < (until if len(found[0]) >= ROUNDS else self._latest):
            speeds = []
            for one in settings:
                if time.perf_counter() > self._latest:
                    return found  # a round that is not whole compares nothing
                speeds.append(self._trial(one))
            for kept, new in zip(found, speeds, strict=True):
                kept.append(new)
        return found

    def _confirmed(self, usual: EngineSettings, chosen: Values, share: float) -> Tuned:
        """What was chosen, unless all of it together is slower than the usual settings."""
        tried = {name: chosen[name] for name in SETTINGS if name in chosen}
        best = merged(usual, tried)
        before, after = self._rounds([usual, best], share) if best != usual else (self._rounds([usual], share) * 2)
        if not before:
            before = after = [self._trial(usual)]
        if best != usual and not clearly_faster(after, before):
            tried, best, after = {name: getattr(usual, name) for name in tried}, usual, before
        return Tuned(
            settings=tried,
            parallel=usual.parallel,
            date=date.today().isoformat(),
            before=middle(before),
            after=middle(after),
            steps=self._steps(best),
        )

    def _steps(self, settings: EngineSettings) -> dict[int, float]:
        rows = [n for n in range(1, settings.parallel + 1) if n <= 32 or n % 4 == 0 or n == settings.parallel]
        return step_seconds(self._model(settings.repack), settings, rows=rows, until=self._end)

    def _trial(self, settings: EngineSettings) -> Speeds:
        return trial(self._model(settings.repack), settings, self._work)

    def _model(self, repack: bool) -> LlamaModel:
        """The model loaded in one way; both stay loaded where there is room for both."""
        if repack not in self._models:
            if self._placement.layout.total * 2 > self._placement.machine.room:
                self.close()
            engine = self._base
            loading = Loading(gpu_layers=engine.gpu_layers, split=engine.split, repack=repack)
            self._models[repack] = LlamaModel(list(self._files), loading)
        return self._models[repack]


def _current_first(stage: Stage, usual: EngineSettings, chosen: Values) -> list[Values]:
    now = {name: chosen.get(name, getattr(usual, name)) for name in stage.candidates[0]}
    return [now, *(values for values in stage.candidates if values != now)]


def _within(count: float, least: int, most: int) -> int:
    return max(least, min(most, int(count)))


def _line(stage: Stage, values: Values, speeds: Speeds) -> str:
    said = ", ".join(f"{name} {value}" for name, value in values.items())
    return f"{stage.name}: {said} ({speeds.prompt:.0f}, {speeds.one:.1f}, {speeds.all:.1f} tokens/s)"
