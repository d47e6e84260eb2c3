"""The flags of an engine, which several commands share, and what they mean for a model."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from ..runner.placement.wanted import FlashAttention, Wanted

_PARAMETER = "engine"

CtxOption = Annotated[int | None, typer.Option("--ctx", metavar="N", help="Tokens of context for each sequence.")]
ParallelOption = Annotated[
    int | None, typer.Option("--parallel", metavar="N", help="How many sequences are computed together.")
]
KvTypeOption = Annotated[
    str | None, typer.Option("--kv-type", metavar="TYPE", help="Of the KV cache: f16, bf16, f32, q8_0 or q4_0.")
]


def engine_flags(*, without: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the flags of an engine: it gets them as its parameter `engine`, a Wanted.

    `without` leaves out some, by their names in `_wanted`. What the flags mean for a model says `placing.placed`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        flags = [flag for name, flag in _flags().items() if name not in without]

        @wraps(command)
        def called(**given: Any) -> None:
            command(**{_PARAMETER: _wanted(**{flag.name: given.pop(flag.name) for flag in flags}), **given})

        own = inspect.signature(command).parameters.values()
        parameters = [new for old in own for new in (flags if old.name == _PARAMETER else [old])]
        # typer reads a command's flags from its signature.
        called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        )
        hints = {**get_type_hints(command, include_extras=True), **get_type_hints(_wanted, include_extras=True)}
        called.__annotations__ = {parameter.name: hints[parameter.name] for parameter in parameters}
        return called

    return decorate


def _wanted(
    ctx: CtxOption = None,
    parallel: ParallelOption = None,
    kv_type: KvTypeOption = None,
    flash_attn: Annotated[
        FlashAttention | None, typer.Option("--flash-attn", help="Flash attention; auto is on where the model can.")
    ] = None,
    gpu_layers: Annotated[
        int | None, typer.Option("--gpu-layers", metavar="N", help="Layers on GPUs, by default all that fit.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="HOW", help="Share GPUs by layer or row, or use one: none.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", help="Threads, by default one on each core.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", help="Tokens of a prompt that are computed at once.")
    ] = None,
    repack: Annotated[
        bool | None, typer.Option("--repack/--no-repack", help="Copy weights into the processor's own layout.")
    ] = None,
    unified: Annotated[
        bool | None, typer.Option("--kv-unified/--kv-split", help="One pool of KV cells for all sequences.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="An answer does not depend on those that share the engine with it.")
    ] = False,
    no_fit: Annotated[bool, typer.Option("--no-fit", help="Try it even where memory seems not to suffice.")] = False,
) -> Wanted:
    return Wanted(
        context=ctx,
        parallel=parallel,
        kv_type=kv_type,
        flash_attention=flash_attn,
        gpu_layers=gpu_layers,
        split=split,
        threads=threads,
        batch_size=batch_size,
        repack=repack,
        unified=unified,
        exact=exact,
        check=not no_fit,
    )


def _flags() -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(_wanted).parameters)
