"""`llstore run`."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ..runner import Generation, Generator, Message, Sampling, chat_prompt, raw_prompt
from ..runner.gate import admit
from ..store import Digest, GetResult, Manifest, Role, parse_ref
from ..store.errors import Unsafe
from .options import JsonOption, OfflineOption, QuietOption, RefArgument, StoreOption
from .output import opened, print_json, progress, remark

if TYPE_CHECKING:
    from ..runner.llama import LlamaModel


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of the model: a prompt, and a system message unless there is none."""

    prompt: str
    system: str | None
    raw: bool


def run(
    ref: RefArgument,
    prompt: Annotated[str, typer.Option("-p", "--prompt", help="The prompt; - reads it from stdin.")],
    system: Annotated[str | None, typer.Option(help='A system message; "" is an empty one.')] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Send the prompt as it is, without a chat template.")] = False,
    max_tokens: Annotated[int, typer.Option(help="Stop after so many tokens.")] = 512,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Choose among so many tokens; 0 is all.")] = 40,
    top_p: Annotated[float, typer.Option(help="Choose among tokens of this total probability.")] = 0.95,
    min_p: Annotated[float, typer.Option(help="Drop tokens less likely than this share of the likeliest.")] = 0.05,
    seed: Annotated[int | None, typer.Option(help="Same seed, same text.")] = None,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End before TEXT; may be repeated.")] = None,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Load it even if llstore check refuses it.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a model on one prompt."""
    if raw and system is not None:
        raise typer.BadParameter("--raw sends the prompt as it is and takes no --system")
    wanted = parse_ref(ref)
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        max_tokens=max_tokens,
        stop=tuple(stop or ()),
    )
    # A missing extra shows before a model is fetched in vain.
    from ..runner.llama import LlamaModel

    ask = Ask(_read_stdin() if prompt == "-" else prompt, system, raw)
    with opened(store, offline=offline, quiet=quiet) as found:
        with progress(quiet=quiet or json) as shown:
            result = found.get(wanted, shown, accept=_refuse_other_roles)
        with found.cache.lease(result.manifest.main.digest):
            if not unchecked:
                admit(result, found.cache)
            with LlamaModel(result.path) as model:
                _remark_missing_template(model, ask, quiet=quiet)
                _answer(Generator(model, _tokens(model, ask), sampling), result, json=json)


def _answer(answer: Generator, result: GetResult, *, json: bool) -> None:
    for piece in answer:
        if not json:
            print(piece, end="", flush=True)
    if json:
        print_json(_document(result.manifest.model, answer.result))
    else:
        print()


def _read_stdin() -> str:
    if sys.stdin is None:
        raise typer.BadParameter("-p - reads stdin, which is closed")
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"stdin is not UTF-8: {error.reason} at byte {error.start}") from error


def _refuse_other_roles(manifest: Manifest) -> None:
    role = manifest.main.role
    if role is not Role.WEIGHTS:
        raise Unsafe(f"{manifest.model} was stored as {role}, not as weights to run")


def _tokens(model: "LlamaModel", ask: Ask) -> list[int]:
    if ask.raw:
        return raw_prompt(model, ask.prompt)
    system = [Message("system", ask.system)] if ask.system is not None else []
    return chat_prompt(model, [*system, Message("user", ask.prompt)])


def _remark_missing_template(model: "LlamaModel", ask: Ask, *, quiet: bool) -> None:
    if not ask.raw and ask.system is None and model.chat_template is None:
        remark("this model has no chat template: the prompt is sent as it is, as with --raw", quiet=quiet)


def _document(model: Digest, made: Generation) -> dict[str, object]:
    return {
        "digest": str(model),
        "text": made.text,
        "prompt_tokens": made.prompt_tokens,
        "completion_tokens": made.completion_tokens,
        "finish_reason": made.finish_reason,
        "load_seconds": round(made.load_seconds, 4),
        "first_token_seconds": round(made.first_token_seconds, 4),
        "tokens_per_second": round(made.tokens_per_second, 2),
        "receipt": None,
    }
