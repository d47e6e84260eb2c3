"""An engine as the log and the metrics see it."""

import time
from dataclasses import dataclass, field
from itertools import takewhile

from ..engine.crash_report import CrashReport
from ..engine.remarks import LONG_SECONDS
from ..observe import events
from ..observe.log import EventLog
from ..observe.metrics import Metrics
from .model import ServedModel


@dataclass(slots=True)
class Watch:
    """Looks at an engine now and then, and tells what is new: that it takes long to load, is ready, or has died."""

    model: ServedModel
    log: EventLog
    metrics: Metrics
    _since: float = field(default_factory=time.monotonic)
    _loading: bool = False  # and it was said
    _ready: bool = False
    _seen: CrashReport | None = None

    def look(self) -> None:
        """What is new since the last look."""
        engine, label = self.model.engine, self.model.identity.label
        latest = list(takewhile(lambda report: report is not self._seen, reversed(engine.crashes)))
        for report in reversed(latest):
            self._seen = report
            suspects = len(report.suspects) if report.suspects is not None else None
            self.metrics.engine_crashed(label)
            self.log.write(events.EngineCrashed(model=label, error=report.summary, requests=suspects))
        if not engine.ready and not self._loading and time.monotonic() - self._since >= LONG_SECONDS:
            self._loading = True
            self.log.write(events.EngineLoading(model=label))
        if engine.ready and not self._ready:
            self._ready = True
            seconds = engine.ready.load_seconds
            self.metrics.model_loaded(label, seconds)
            self.log.write(
                events.EngineReady(
                    model=label,
                    digest=str(self.model.digest),
                    seconds=seconds,
                    parallel=self.model.settings.parallel,
                    context_size=self.model.settings.context_size,
                )
            )
