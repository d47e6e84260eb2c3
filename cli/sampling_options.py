"""The flags that say how tokens are chosen, which several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from ..runner import Sampling
from ..store.errors import FileNotThere
from .flags import Command, flags

# More than a grammar or a schema may have: what is longer is refused where it is checked.
_MOST_BYTES = 1024 * 1024

USUAL = Sampling()


def sampling_flags(command: Command) -> Command:
    """Gives a command the flags of sampling: it gets them as its parameter `sampling`."""
    return flags("sampling", _sampling)(command)


def _sampling(
    max_tokens: Annotated[int, typer.Option(help="Stop after so many tokens.")] = 512,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Choose among so many tokens; 0 is all.")] = 40,
    top_p: Annotated[float, typer.Option(help="Choose among tokens of this total probability.")] = 0.95,
    min_p: Annotated[float, typer.Option(help="Drop tokens less likely than this share of the likeliest.")] = 0.05,
    typical_p: Annotated[
        float, typer.Option(help="Choose among tokens about as surprising as expected; 1 is off.")
    ] = 1.0,
    repeat_penalty: Annotated[float, typer.Option(help="Make tokens of the last ones less likely; 1 is off.")] = 1.0,
    repeat_last_n: Annotated[int, typer.Option(help="How many last tokens penalties look at; -1 is all.")] = 64,
    frequency_penalty: Annotated[
        float, typer.Option(help="Take so much from a token's logit each time it was there.")
    ] = 0.0,
    presence_penalty: Annotated[float, typer.Option(help="Take so much from a token's logit if it was there.")] = 0.0,
    logit_bias: Annotated[
        list[str] | None,
        typer.Option(metavar="TOKEN=BIAS", help="Add BIAS to the logit of the token with this id; may be repeated."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same text.")] = None,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End before TEXT; may be repeated.")] = None,
    stop_token: Annotated[
        list[int] | None, typer.Option(metavar="TOKEN", help="End before the token with this id; may be repeated.")
    ] = None,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Go on where the model would end.")] = False,
    grammar: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answer only what this grammar in GBNF describes.")
    ] = None,
    json_schema: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Answer in JSON that fits this JSON Schema: a file, or the schema itself, {…}."
        ),
    ] = None,
) -> Sampling:
    return Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical_p,
        repeat_penalty=repeat_penalty,
        repeat_last_n=repeat_last_n,
        frequency_penalty=frequency_penalty,
        presence_penalty=presence_penalty,
        logit_bias=tuple(map(_bias, logit_bias or ())),
        seed=seed,
        max_tokens=max_tokens,
        stop=_stops(stop or []),
        stop_tokens=tuple(stop_token or ()),
        ignore_eos=ignore_eos,
        grammar=_grammar(grammar, json_schema),
    )


def _stops(stop: list[str]) -> tuple[str, ...]:
    if any(text != text.encode("utf-8", errors="replace").decode() for text in stop):
        raise typer.BadParameter("--stop is not UTF-8")
    return tuple(stop)


def _bias(flag: str) -> tuple[int, float]:
    token, _, bias = flag.partition("=")
    try:
        return int(token), float(bias)
    except ValueError as error:
        raise typer.BadParameter(f"--logit-bias {flag!r:.60} is not TOKEN=BIAS, as in 198=-5") from error


def _grammar(file: Path | None, schema: str | None) -> str | None:
    if file is not None and schema is not None:
        raise typer.BadParameter("--grammar and --json-schema exclude each other")
    if schema is not None:
        from ..runner.grammar import json_schema_to_gbnf

        if not schema.strip():
            raise typer.BadParameter("--json-schema is empty: it takes a schema, or a file with one")
        inline = schema.lstrip().startswith("{")
        return json_schema_to_gbnf(schema if inline else _text(Path(schema), "--json-schema"))
    return None if file is None else _text(file, "--grammar")


def _text(path: Path, flag: str) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8")
    except FileNotFoundError as error:
        raise FileNotThere(f"{flag}: no file {path}") from error
    except OSError as error:
        raise typer.BadParameter(f"{flag} {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{flag} {path} is not UTF-8") from error
