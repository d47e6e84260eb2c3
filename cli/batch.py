"""`llstore batch`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from ..runner import Sampling
from ..runner.placement.wanted import NOTHING, Wanted
from ..runner.weights import refuse_unrunnable
from ..store import GetResult, Name, Ref, parse_ref
from .engine_options import engine_flags
from .failure import FAILED
from .options import JsonOption, OfflineOption, QuietOption, RefArgument, StoreOption
from .output import opened, print_json, progress, remark
from .sampling_options import USUAL, sampling_flags
from .settings import cores_folder

if TYPE_CHECKING:
    from ..runner.batch.batch import Means
    from ..runner.batch.results import FileResults, PipeResults
    from ..runner.batch.settings import BatchSettings
    from ..runner.batch.tally import Tally
    from ..runner.placement.placement import Placement

SUSPECTS = 3  # lines that each crash the engine, with none answered in between: then it is not theirs
AHEAD = 2  # so many requests a slot: the engine never waits for the next


@sampling_flags
@engine_flags()
def batch(
    ref: RefArgument,
    source: Annotated[str, typer.Option("-i", "--input", metavar="FILE", help="A prompt a line, in JSON; - is stdin.")],
    target: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="An answer a line; - is stdout.")],
    system: Annotated[str | None, typer.Option(help="A system message for lines that have none.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Send prompts as they are, without a chat template.")] = False,
    sampling: Sampling = USUAL,
    restart: Annotated[bool, typer.Option("--restart", help="Overwrite the output, and begin anew.")] = False,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Load it even if llstore check refuses it.")] = False,
    engine: Wanted = NOTHING,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Answer every line of a file, in order; the same command goes on where it was cut off."""
    _refuse_contradictions(source, target, raw=raw, system=system, json=json)
    _refuse_no_text("--system", system or "")
    wanted = parse_ref(ref)
    way = _Way(
        source=source,
        target=target,
        system=system,
        raw=raw,
        engine=engine,
        restart=restart,
        unchecked=unchecked,
        store=store,
        json=json,
        offline=offline,
        quiet=quiet,
    )
    _answer(wanted, sampling, way)


@dataclass(frozen=True, slots=True)
class _Way:
    """The flags beside the model and how tokens are chosen."""

    source: str
    target: str
    system: str | None
    raw: bool
    engine: Wanted
    restart: bool
    unchecked: bool
    store: str | None
    json: bool
    offline: bool
    quiet: bool


def _answer(wanted: Ref, sampling: Sampling, way: _Way) -> None:
    # A missing extra shows before a model is fetched in vain.
    from ..runner.batch.batch import Batch
    from ..runner.batch.reader import read_lines
    from .loading import leased
    from .placing import placed, remark_tuned

    with ExitStack() as held:
        lines = held.enter_context(_input(way.source))
        found = held.enter_context(opened(way.store, offline=way.offline, quiet=way.quiet))
        with progress(quiet=way.quiet or way.json) as shown:
            model = found.get(wanted, shown, accept=refuse_unrunnable)
        files = held.enter_context(leased(found, model, unchecked=way.unchecked))
        placement = placed(found, model.manifest, way.engine, quiet=way.quiet)
        remark_tuned(placement, quiet=way.quiet)
        settings = _settings(model, wanted, sampling, placement, way)
        results = held.enter_context(_results(way.target, settings, restart=way.restart))
        means = held.enter_context(_means(files, placement, settings, model, quiet=way.quiet))
        show = held.enter_context(_shown(way.source, quiet=way.quiet or way.json))
        tally = Batch(means, results, show).run(read_lines(lines))
    _say(tally, way)
    raise typer.Exit(FAILED if tally.failed else 0)


def _settings(model: GetResult, wanted: Ref, sampling: Sampling, placement: "Placement", way: _Way) -> "BatchSettings":
    from ..runner.batch.settings import BatchSettings

    return BatchSettings(
        model.manifest.model,
        name=wanted if isinstance(wanted, Name) else None,
        sampling=sampling,
        system=way.system,
        raw=way.raw,
        exact=placement.engine.exact,
        kv_type=placement.engine.key_type,
    )


def _refuse_contradictions(source: str, target: str, *, raw: bool, system: str | None, json: bool) -> None:
    if raw and system is not None:
        raise typer.BadParameter("--raw sends prompts as they are and takes no --system")
    if json and target == "-":
        raise typer.BadParameter("--json prints its document where -o - prints the answers: name a file")
    if source == "-" and sys.stdin is None:
        raise typer.BadParameter("-i - reads stdin, which is closed")
    if all(name != "-" and Path(name).exists() for name in (source, target)) and Path(source).samefile(target):
        raise typer.BadParameter("-i and -o are the same file")


def _refuse_no_text(flag: str, *values: str) -> None:
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        raise typer.BadParameter(f"{flag} is not UTF-8") from error


@contextmanager
def _input(source: str) -> Iterator[BinaryIO]:
    if source == "-":
        yield sys.stdin.buffer
        return
    from ..store.disk import disk_errors
    from ..store.errors import FileNotThere

    path = Path(source)
    if not path.exists():
        raise FileNotThere(f"no file {path}")
    with ExitStack() as held:
        with disk_errors(path):
            file = held.enter_context(path.open("rb"))
        yield file


@contextmanager
def _results(target: str, settings: "BatchSettings", *, restart: bool) -> Iterator["FileResults | PipeResults"]:
    from ..runner.batch.results import FileResults, PipeResults

    path = Path(target)
    if target == "-":
        yield PipeResults(sys.stdout.buffer)
    elif path.exists() and not path.is_file():
        # A named pipe or a device takes what it is given, once.
        with path.open("wb") as file:
            yield PipeResults(file)
    else:
        with FileResults(path, settings.document(), restart=restart) as results:
            yield results


@contextmanager
def _means(
    files: list[Path], placement: "Placement", settings: "BatchSettings", model: GetResult, *, quiet: bool
) -> Iterator["Means"]:
    from ..runner.batch.batch import Bounds, Means
    from ..runner.engine.restarts import Keeping
    from ..runner.engine.supervisor import EngineProcess
    from ..runner.llama.model import LlamaModel, Loading

    engine = placement.engine
    trained = model.manifest.facts.context_length or 0
    bounds = Bounds(engine.context_size, engine.parallel * AHEAD, trained)
    keeping = Keeping(suspects=SUSPECTS, cores=cores_folder(), say=lambda line: remark(line, quiet=quiet))
    with EngineProcess(files, engine, loading=placement.loading, keeping=keeping) as child:
        child.wait_vocabulary()
        with LlamaModel(files, Loading(vocabulary_only=True)) as vocabulary:
            child.wait_ready()
            yield Means(child, vocabulary, settings, bounds)


@contextmanager
def _shown(source: str, *, quiet: bool) -> Iterator[Callable[["Tally"], None]]:
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from .bars import lines_bar

    with lines_bar(_count(source)) as show:
        yield lambda tally: show(tally.lines, _pace(tally))


def _count(source: str) -> int | None:
    if source == "-" or not Path(source).is_file():
        return None
    from ..runner.batch.reader import read_lines

    with Path(source).open("rb") as file:
        return sum(1 for _ in read_lines(file))


def _pace(tally: "Tally") -> str:
    failed = f", {tally.failed} failed" if tally.failed else ""
    return f"{tally.streamed / tally.seconds if tally.seconds else 0:.0f} tokens/s{failed}"


def _say(tally: "Tally", way: _Way) -> None:
    if way.json:
        print_json(_document(tally))
    else:
        remark(_summary(tally), quiet=way.quiet)
    if tally.failed:
        where = "the output" if way.target == "-" else way.target
        remark(f"{tally.failed} of {tally.lines} lines have no answer: {where} says why", quiet=False)


def _summary(tally: "Tally") -> str:
    before = f", {tally.resumed} of them before" if tally.resumed else ""
    tokens = f"{tally.completion_tokens} tokens in {tally.seconds:.1f} s, {tally.tokens_per_second:.1f} a second"
    return f"{tally.lines} lines{before}: {tokens}"


def _document(tally: "Tally") -> dict[str, object]:
    return {
        "lines": tally.lines,
        "done": tally.done,
        "failed": tally.failed,
        "skipped": tally.resumed,
        "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tally.completion_tokens,
        "seconds": round(tally.seconds, 4),
        "tokens_per_second": round(tally.tokens_per_second, 2),
    }
