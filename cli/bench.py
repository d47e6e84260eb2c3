"""`llstore bench`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..runner.placement.wanted import NOTHING, Wanted
from ..runner.weights import refuse_unrunnable
from ..store import GetResult, Store, parse_ref
from .bench_options import (
    BatchedGeneratedOption,
    BatchedOption,
    BatchedPromptOption,
    ConcurrencyOption,
    GeneratedOption,
    LimitOption,
    MaxTokensOption,
    PeersOption,
    PlotOption,
    PromptOption,
    PromptTokensOption,
    RateOption,
    RepeatsOption,
    RoundsOption,
    SecondsOption,
    SeedOption,
    UncheckedOption,
)
from .bench_tables import document, print_results
from .engine_options import engine_flags
from .options import JsonOption, OfflineOption, QuietOption, RefArgument, StoreOption
from .output import opened, print_json, progress, remark

if TYPE_CHECKING:
    from ..runner.bench.suite import Plan, Results
    from ..runner.engine_settings import EngineSettings


@engine_flags()
def bench(
    ref: RefArgument,
    peers: PeersOption = None,
    rounds: RoundsOption = 1,
    prompt: PromptOption = 512,
    generated: GeneratedOption = 128,
    repeats: RepeatsOption = 3,
    npl: BatchedOption = "1,8,16",
    npp: BatchedPromptOption = 64,
    ntg: BatchedGeneratedOption = 32,
    concurrency: ConcurrencyOption = "1,8,16",
    rate: RateOption = None,
    prompt_tokens: PromptTokensOption = "16-256",
    max_tokens: MaxTokensOption = "16-64",
    seconds: SecondsOption = 10.0,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    plot: PlotOption = None,
    engine: Wanted = NOTHING,
    unchecked: UncheckedOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a model's speed on this machine, alone and under load."""
    wanted = parse_ref(ref)
    # What is not installed or makes no sense shows before a model is fetched in vain.
    from ..runner.bench.limits import NO_LIMITS, Limits
    from ..runner.bench.speed import BatchedTest
    from ..runner.bench.suite import Plan
    from ..runner.bench.workload import Lengths
    from .loading import leased

    plan = Plan(
        prompts=Lengths.parse(prompt_tokens),
        answers=Lengths.parse(max_tokens),
        seed=seed,
        prompt=prompt,
        generated=generated,
        repeats=repeats,
        batched=tuple(BatchedTest(npp, ntg, number) for number in _numbers("--npl", npl)),
        concurrency=_numbers("--concurrency", concurrency),
        rate=rate,
        seconds=seconds,
        limits=Limits.parse(limit) if limit else NO_LIMITS,
        rounds=rounds,
    )
    _try(peers, plot)
    with opened(store, offline=offline, quiet=quiet) as found:
        with progress(quiet=quiet or json) as shown:
            model = found.get(wanted, shown, accept=refuse_unrunnable)
        with leased(found, model, unchecked=unchecked) as files:
            settings = _settings(plan, found, model, engine, quiet=quiet)
            results = _measured(plan, settings, files, peers=peers, quiet=quiet)
    _show(results, plan, settings, digest=str(model.manifest.model), plot=plot, json=json)


def _show(
    results: "Results", plan: "Plan", settings: "EngineSettings", *, digest: str, plot: Path | None, json: bool
) -> None:
    if plot:
        from ..runner.bench.plot import plot as draw

        draw(results, plot, title=f"{digest}, {settings.parallel} slots, {settings.threads} threads")
    if json:
        print_json(document(results, plan, settings, digest=digest))
    else:
        print_results(results, plan)


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    """From `1,8,16`; none from `0`."""
    parts = text.split(",")
    if not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise typer.BadParameter(f"{flag} is {text!r}; it takes numbers such as 1,8,16")
    return tuple(number for number in map(int, parts) if number)


def _settings(plan: "Plan", store: Store, model: GetResult, engine: Wanted, *, quiet: bool) -> "EngineSettings":
    from ..runner.bench.contestants import room
    from .placing import placed

    _refuse_too_long(plan, trained=model.manifest.facts.context_length)
    enough = engine if engine.context else replace(engine, context=room(plan.room))
    return placed(store, model.manifest, enough, quiet=quiet).engine


def _refuse_too_long(plan: "Plan", *, trained: int | None) -> None:
    """Raises InvalidLoad where a test is longer than what a model was trained for; the loops' lengths --ctx bounds."""
    from ..runner.errors import InvalidLoad

    tests = [("--pp and --tg", plan.prompt + plan.generated)] if plan.repeats else []
    tests += [("--npp and --ntg", test.prompt + test.generated) for test in plan.batched]
    for flags, tokens in tests:
        if trained and tokens > trained:
            raise InvalidLoad(f"{flags} are {tokens} tokens together; the model was trained for {trained}")


def _try(peers: Path | None, plot: Path | None) -> None:
    """Raises what would come of a missing program or library, or of a file that cannot be written."""
    if peers:
        from ..runner.bench.peers import Peers

        Peers(peers, peers).check()
    if plot:
        from ..runner.bench.plot import format_of

        format_of(plot)
        if not plot.parent.is_dir():
            raise typer.BadParameter(f"{plot.parent} is no folder")


def _measured(
    plan: "Plan", settings: "EngineSettings", files: Sequence[Path], *, peers: Path | None, quiet: bool
) -> "Results":
    from ..runner.bench.contestants import LlamaCpp, Ours
    from ..runner.bench.peers import Peers, named_shards
    from ..runner.bench.suite import Contestant, Suite
    from ..runner.bench.words import words
    from ..runner.llama.model import LlamaModel, Loading

    with LlamaModel(files, Loading(vocabulary_only=True)) as model:
        vocabulary = words(model)

    def say(text: str) -> None:
        remark(text, quiet=quiet)

    contestants: list[Contestant] = [Ours(files, settings, vocabulary, say)]
    with named_shards(files) as first:
        if peers:
            contestants.append(LlamaCpp(Peers(peers, first), settings))
        suite = Suite(plan, contestants, words=vocabulary, say=say)
        return suite.run()
