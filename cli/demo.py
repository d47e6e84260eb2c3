"""`llstore demo`."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..runner import Generation, Generator, Sampling
from ..runner.demo import Demo, full_demo, quick_demo
from ..runner.placement.wanted import NOTHING, Usual
from ..store import GetResult, Name, PutRequest, Settings, Store
from ..store.errors import NotFound, Unreachable
from ..store.sizes import human_size
from .failure import FAILED
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, remark

if TYPE_CHECKING:
    from ..runner.placement.placement import Placement

_GREEDY = Sampling(temperature=0, max_tokens=64)
_USUAL = Usual(512, parallel=1, flash_attention=False, tunable=frozenset())

_QUICK = "llstore demo --quick needs no network"

T = TypeVar("T")


def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="With a tiny model that is made here: offline, seconds.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a small model, store it, ask it a question, and say whether the answer is right."""
    # A missing extra shows before anything is fetched.

    wanted = quick_demo() if quick else full_demo()
    steps = _Steps(silent=json)
    if not json:
        print(f"model:     {wanted.about}")
    with _store(store, quick=quick, offline=offline, quiet=quiet) as found:
        made = _answered(wanted, found, steps, quiet=quiet)
    right = made.text.strip() == wanted.expected
    if json:
        print_json(_document(wanted, made, steps, right=right, quick=quick))
    else:
        _print(wanted, made, right=right)
    if not right:
        remark("the answer is wrong: llstore doctor tries this build's kernels one by one", quiet=False)
        raise typer.Exit(FAILED)


@dataclass(frozen=True, slots=True)
class _Step:
    """Something that was done, what came of it, and how long it took."""

    name: str
    outcome: str
    seconds: float


class _Steps:
    """The steps that were taken, each printed as it ends."""

    def __init__(self, *, silent: bool) -> None:
        self.taken: list[_Step] = []
        self._silent = silent

    def take(self, name: str, act: Callable[[], T], outcome: Callable[[T], str]) -> T:
        """Do it, and note it."""
        began = time.monotonic()
        result = act()
        step = _Step(name, outcome(result), round(time.monotonic() - began, 3))
        self.taken.append(step)
        if not self._silent:
            print(f"{step.name + ':':11}{step.outcome:64}{step.seconds:8.2f} s", flush=True)
        return result


@contextmanager
def _store(store: str | None, *, quick: bool, offline: bool, quiet: bool) -> Iterator[Store]:
    """The user's store; for the quick demo one that is gone afterwards."""
    if not quick:
        with opened(store, offline=offline, quiet=quiet) as found:
            yield found
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        Store(Settings(cache=Path(folder) / "cache", data=Path(folder) / "data")) as found,
    ):
        yield found


def _answered(wanted: Demo, store: Store, steps: _Steps, *, quiet: bool) -> Generation:
    from ..runner.llama.model import LlamaModel
    from .loading import leased
    from .placing import placed

    model = steps.take("store", lambda: _stored(wanted, store, quiet=quiet), lambda got: str(got.manifest.model))
    with leased(store, model) as files:
        placement = steps.take(
            "kernels",
            lambda: placed(store, model.manifest, NOTHING, quiet=quiet, usual=_USUAL, as_tuned=False),
            _kernels,
        )
        loading, size = placement.loading, human_size(model.manifest.size)
        with steps.take("load", lambda: LlamaModel(files, loading), lambda _: size) as loaded:
            prompt = wanted.ask.tokens(loaded)
            engine = placement.for_prompt(len(prompt), _GREEDY.max_tokens, at_most=loaded.context_length)
            return steps.take("answer", lambda: _generated(Generator(loaded, prompt, _GREEDY, engine=engine)), _speed)


def _stored(wanted: Demo, store: Store, *, quiet: bool) -> GetResult:
    """The model, in the store and the cache; fetched if neither has it."""
    if wanted.digest:
        with suppress(NotFound):
            return store.get(wanted.digest)
        if store.stays_here:
            raise Unreachable("the demo's model is not in the store, and is not fetched offline", hint=_QUICK)
        remark(f"fetching {wanted.about}", quiet=quiet)
    with tempfile.TemporaryDirectory() as folder:
        put = store.put(PutRequest(wanted.make(Path(folder)), name=Name.parse(wanted.name)))
    return store.get(put.manifest.model)


def _generated(generator: Generator) -> Generation:
    for _ in generator:
        pass
    return generator.result


def _kernels(placement: "Placement") -> str:
    off = ", ".join(sorted(placement.switched_off))
    return f"work, with {off} switched off" if off else "work"


def _speed(made: Generation) -> str:
    return f"{made.completion_tokens} tokens, {made.tokens_per_second:.1f} a second"


def _print(wanted: Demo, made: Generation, *, right: bool) -> None:
    print(f"asked:     {wanted.question}")
    print(f"expected:  {wanted.expected}")
    print(f"answered:  {made.text.strip()}")
    print(f"verdict:   {'right' if right else 'wrong'}")


def _document(wanted: Demo, made: Generation, steps: _Steps, *, right: bool, quick: bool) -> dict[str, object]:
    return {
        "right": right,
        "quick": quick,
        "model": wanted.name,
        "question": wanted.question,
        "expected": wanted.expected,
        "text": made.text.strip(),
        "steps": [asdict(step) for step in steps.taken],
    }
