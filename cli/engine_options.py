"""The flags of an engine, which several commands share, and what they mean for a model."""

from collections.abc import Callable
from typing import Annotated

import typer

from ..runner.placement.wanted import FlashAttention, Wanted
from .flags import Command, flags

CtxOption = Annotated[int | None, typer.Option("--ctx", metavar="N", help="Tokens of context for each sequence.")]
ParallelOption = Annotated[
    int | None, typer.Option("--parallel", metavar="N", help="How many sequences are computed together.")
]
KvTypeOption = Annotated[
    str | None, typer.Option("--kv-type", metavar="TYPE", help="Of the KV cache: f16, bf16, f32, q8_0 or q4_0.")
]


def engine_flags(*, without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Gives a command the flags of an engine: it gets them as its parameter `engine`, a Wanted.

    `without` leaves out some, by their names in `_wanted`. What the flags mean for a model says `placing.placed`.
    """
    return flags("engine", _wanted, without=without)


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
