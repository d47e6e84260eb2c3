"""The flags of `llstore bench`."""

from pathlib import Path
from typing import Annotated

import typer

PeersOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", envvar="LLSTORE_PEERS", help="Measure llama.cpp's programs in DIR beside us."),
]
RoundsOption = Annotated[int, typer.Option(min=1, help="Do everything so often; engines take turns.")]
PromptOption = Annotated[int, typer.Option("--pp", min=1, help="One request: read a prompt of so many tokens.")]
GeneratedOption = Annotated[int, typer.Option("--tg", min=1, help="One request: generate so many tokens.")]
RepeatsOption = Annotated[int, typer.Option(min=1, help="Do these two so often in every round.")]
BatchedOption = Annotated[str, typer.Option("--npl", metavar="N,…", help="So many requests at once; 0: none.")]
BatchedPromptOption = Annotated[int, typer.Option("--npp", min=1, help="Prompt tokens of each of these.")]
BatchedGeneratedOption = Annotated[int, typer.Option("--ntg", min=1, help="Tokens generated for each of these.")]
ConcurrencyOption = Annotated[
    str, typer.Option(metavar="N,…", help="Closed loops: so many clients, each with one request at a time; 0: none.")
]
RateOption = Annotated[
    float | None,
    typer.Option(min=0, help="Open loop: requests a second; 0: none; by default 0.8 of the closed loop's."),
]
PromptTokensOption = Annotated[str, typer.Option(metavar="A-B", help="Prompt lengths in both loops.")]
MaxTokensOption = Annotated[str, typer.Option(metavar="A-B", help="Answer lengths in both loops.")]
SecondsOption = Annotated[float, typer.Option(min=0.1, help="How long each loop asks.")]
LimitOption = Annotated[
    str | None,
    typer.Option(metavar="LIMITS", help="Count requests that keep to ttft=500ms,itl=100ms; also tpot, request."),
]
SeedOption = Annotated[int, typer.Option(help="Same seed, same requests at the same times.")]
PlotOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it: FILE.png or FILE.svg.")]
UncheckedOption = Annotated[bool, typer.Option("--unchecked", help="Load it even if llstore check refuses it.")]
