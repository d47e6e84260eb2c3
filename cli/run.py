"""`llstore run`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runner import Generation, Generator, Message, PromptEmpty, Sampling
from ..runner.chat.ask import Ask, Chat, Raw
from ..runner.placement.wanted import HARMLESS, NOTHING, Usual, Wanted
from ..runner.weights import refuse_unrunnable, weights_of
from ..store import Manifest, Ref, parse_ref
from ..store.manifest import canonical
from . import settings
from .engine_options import engine_flags
from .options import JsonOption, OfflineOption, QuietOption, RefArgument, StoreOption
from .output import opened, print_json, progress, remark
from .sampling_options import USUAL, sampling_flags

if TYPE_CHECKING:
    from ..runner.cores import AllCores, Cores
    from ..runner.llama.model import LlamaModel
    from ..runner.placement.placement import Placement
    from ..runner.receipts.receipt import Receipt
    from ..store.get import CachedFile

_TEMPLATE = 1024  # tokens that a chat template may add to what people write


@sampling_flags
@engine_flags(without=("parallel", "unified"))
def run(
    ref: RefArgument,
    prompt: Annotated[str, typer.Option("-p", "--prompt", help="The prompt; - reads it from stdin.")],
    system: Annotated[str | None, typer.Option(help='A system message; "" is an empty one.')] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Send the prompt as it is, without a chat template.")] = False,
    sampling: Sampling = USUAL,
    receipt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write there what `llstore replay` needs to run this again.")
    ] = None,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Load it even if llstore check refuses it.")] = False,
    engine: Wanted = NOTHING,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a model on one prompt."""
    if raw and system is not None:
        raise typer.BadParameter("--raw sends the prompt as it is and takes no --system")
    wanted = parse_ref(ref)
    ask = _ask(_read_stdin() if prompt == "-" else prompt, system, raw=raw)
    _answer(wanted, ask, sampling, _Way(engine, receipt, unchecked, store, json, offline, quiet))


@dataclass(frozen=True, slots=True)
class _Way:
    """The flags beside what is asked and how tokens are chosen."""

    engine: Wanted
    receipt: Path | None
    unchecked: bool
    store: str | None
    json: bool
    offline: bool
    quiet: bool


def _answer(wanted: Ref, ask: Ask, sampling: Sampling, way: _Way) -> None:
    # A missing extra shows before a model is fetched in vain, and a receipt that cannot be written too.
    from ..runner.llama.model import LlamaModel
    from .loading import leased
    from .placing import placed, remark_tuned

    target = _target(way.receipt)
    with opened(way.store, offline=way.offline, quiet=way.quiet) as found:
        with progress(quiet=way.quiet or way.json) as shown:
            result = found.get(wanted, shown, accept=refuse_unrunnable)
        files = weights_of(result.files)
        with leased(found, result, unchecked=way.unchecked) as paths:
            placement = placed(found, result.manifest, way.engine, quiet=way.quiet, usual=_usual(ask, sampling))
            remark_tuned(placement, quiet=way.quiet)
            with LlamaModel(paths, placement.loading) as model, _cores(placement) as cores:
                answer = _generator(model, ask, sampling, placement, way)
                answer.share(cores)
                _print(answer, silent=way.json)
                receipt = partial(_receipt, result.manifest, files, ask, off=placement.switched_off)
                recorded = receipt(model=model, made=answer.result) if target else None
    if target and recorded:
        _write(recorded, target)
    if way.json:
        print_json(_document(answer.result, result.manifest, recorded))


def _usual(ask: Ask, sampling: Sampling) -> Usual:
    """What makes greedy text equal llama-cpp-python's, and as many tokens as prompt and answer can become."""
    longest = len(canonical(ask.document())) + _TEMPLATE
    return Usual(longest + sampling.max_tokens, parallel=1, flash_attention=False, tunable=HARMLESS)


def _generator(model: "LlamaModel", ask: Ask, sampling: Sampling, placement: "Placement", way: _Way) -> Generator:
    _remark_missing_template(model, ask, quiet=way.quiet)
    tokens = ask.tokens(model)
    engine = placement.engine
    if way.engine.context is None:
        engine = placement.for_prompt(len(tokens), sampling.max_tokens, at_most=model.context_length)
    return Generator(model, tokens, sampling, engine=engine)


def _cores(placement: "Placement") -> "Cores | AllCores":
    from ..runner.cores import shared_cores

    # As many threads at each step: fewer may change the last bits of a logit, and so a text.
    return shared_cores(settings.cores_folder(), least=placement.engine.threads)


def _print(answer: Generator, *, silent: bool) -> None:
    for piece in answer:
        if not silent:
            print(piece, end="", flush=True)
    if not silent:
        print()


# What only receipts need is loaded for them alone: the first token comes the sooner.
def _target(path: Path | None) -> Path | None:
    if path is None:
        return None
    from ..runner.receipts.file import writable

    return writable(path)


def _receipt(
    manifest: Manifest,
    files: Sequence["CachedFile"],
    ask: Ask,
    *,
    model: "LlamaModel",
    made: Generation,
    off: frozenset[str],
) -> "Receipt":
    from ..runner.llama.build import build
    from ..runner.receipts.build_facts import BuildFacts
    from ..runner.receipts.receipt import Receipt, UsedModel

    used = UsedModel.of(manifest, [file.entry for file in files])
    return Receipt.of(used, ask, model=model, made=made, build=BuildFacts.of(build(), off))


def _write(receipt: "Receipt", target: Path) -> None:
    from ..runner.receipts.file import write

    write(receipt, target)


def _read_stdin() -> str:
    if sys.stdin is None:
        raise typer.BadParameter("-p - reads stdin, which is closed")
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"stdin is not UTF-8: {error.reason} at byte {error.start}") from error


def _ask(prompt: str, system: str | None, *, raw: bool) -> Ask:
    # Bytes that are no text would become "?" on their way to the model: so it is said, and recorded, at once.
    prompt, system = _unicode(prompt), _unicode(system) if system is not None else None
    if raw:
        return Raw(prompt)
    if not prompt:
        # It would be answered, but a script whose variable is empty had better hear of it.
        raise PromptEmpty("the prompt is empty")
    first = (Message("system", system),) if system is not None else ()
    return Chat((*first, Message("user", prompt)))


def _unicode(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode()


def _remark_missing_template(model: "LlamaModel", ask: Ask, *, quiet: bool) -> None:
    if isinstance(ask, Chat) and len(ask.messages) == 1 and model.chat_template is None:
        remark("this model has no chat template: the prompt is sent as it is, as with --raw", quiet=quiet)


def _document(made: Generation, manifest: Manifest, receipt: "Receipt | None") -> dict[str, object]:
    return {
        "digest": str(manifest.model),
        "text": made.text,
        "prompt_tokens": made.prompt_tokens,
        "completion_tokens": made.completion_tokens,
        "finish_reason": made.finish_reason,
        "load_seconds": round(made.load_seconds, 4),
        "first_token_seconds": round(made.first_token_seconds, 4),
        "tokens_per_second": round(made.tokens_per_second, 2),
        "receipt": receipt.document() if receipt else None,
    }
