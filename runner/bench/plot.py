"""Results as a picture, PNG or SVG or what else matplotlib writes. The only door to matplotlib."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ..errors import ExtraMissing, InvalidLoad
from .latencies import Record
from .suite import Loaded, LoadFigures, Results

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    raise ExtraMissing("matplotlib", extra="plot") from error

INCHES = (14.0, 8.0)
_MS = 1000.0
_STYLES = ("solid", "dashed")  # of a line for p50 and one for p95

Measure = Callable[[LoadFigures], float]


def format_of(path: Path) -> str:
    """The format that the file's name asks for; raises InvalidLoad where there is no such."""
    known = sorted(FigureCanvasAgg.get_supported_filetypes())
    found = path.suffix.removeprefix(".").lower()
    if found not in known:
        raise InvalidLoad(f"{path}: no plot can be written as {path.suffix!r}", hint=f"one of {', '.join(known)}")
    return found


def plot(results: Results, path: Path, *, title: str) -> None:
    """Draws batched speeds, the closed loop by its number of clients, and the open loop's distributions."""
    figure = Figure(figsize=INCHES, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(2, 3)
    _batched(axes[0, 0], results)
    _closed(axes[1, 0], results.closed, "tokens a second", [("", lambda figures: figures.tokens_per_second)])
    ttft: list[tuple[str, Measure]] = [
        ("p50", lambda figures: _MS * figures.ttft.p50),
        ("p95", lambda figures: _MS * figures.ttft.p95),
    ]
    itl: list[tuple[str, Measure]] = [
        ("p50", lambda figures: _MS * figures.itl.p50),
        ("p95", lambda figures: _MS * figures.itl.p95),
    ]
    _closed(axes[0, 1], results.closed, "time to first token, ms", ttft)
    _closed(axes[1, 1], results.closed, "inter-token latency, ms", itl)
    _cumulative(axes[0, 2], results.open, "time to first token, ms", lambda record: (record.ttft,))
    _cumulative(axes[1, 2], results.open, "inter-token latency, ms", lambda record: record.gaps)
    figure.savefig(path, format=format_of(path))


def _batched(axes: Any, results: Results) -> None:
    for number, engine in enumerate(dict.fromkeys(name for name, _ in results.batched)):
        rounds = [speeds for name, speeds in results.batched if name == engine]
        points = [(speeds[0].test.parallel, fmean(speed.generated_speed for speed in speeds)) for speeds in rounds]
        _line(axes, points, color=f"C{number}", label=engine)
    _label(axes, "generated together", x="sequences", y="tokens a second")


def _closed(axes: Any, loads: Sequence[Loaded], y: str, measures: Sequence[tuple[str, Measure]]) -> None:
    for number, engine in enumerate(dict.fromkeys(loaded.engine for loaded in loads)):
        figures = [(one.concurrency, one.figures()) for one in loads if one.engine == engine]
        for (name, measure), style in zip(measures, _STYLES, strict=False):
            points = [(concurrency, measure(found)) for concurrency, found in figures]
            _line(axes, points, color=f"C{number}", linestyle=style, label=f"{engine} {name}".strip())
    _label(axes, "closed loop", x="clients", y=y)


def _line(axes: Any, points: Sequence[tuple[int, float]], **look: str) -> None:
    x, y = zip(*sorted(points), strict=True)
    axes.plot(x, y, marker="o", **look)
    axes.set_xticks(x)


def _cumulative(axes: Any, loads: Sequence[Loaded], x: str, values: Callable[[Record], Iterable[float]]) -> None:
    for loaded in loads:
        records = (record for load in loaded.loads for record in load.whole)
        found = sorted(_MS * value for record in records for value in values(record))
        axes.step(found, [100 * (n + 1) / len(found) for n in range(len(found))], label=loaded.engine)
    rate = f", {loads[0].rate:.2f} requests a second" if loads else ""
    _label(axes, f"open loop{rate}", x=x, y="% are no slower")


def _label(axes: Any, title: str, *, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
