"""The flags that say how tokens are chosen, beside the usual few."""

from pathlib import Path
from typing import Annotated

import typer

# More than a grammar or a schema may have: what is longer is refused where it is checked.
_MOST_BYTES = 1024 * 1024

TypicalOption = Annotated[float, typer.Option(help="Choose among tokens about as surprising as expected; 1 is off.")]
RepeatPenaltyOption = Annotated[float, typer.Option(help="Make tokens of the last ones less likely; 1 is off.")]
RepeatLastOption = Annotated[int, typer.Option(help="How many last tokens penalties look at; -1 is all.")]
FrequencyOption = Annotated[float, typer.Option(help="Take so much from a token's logit each time it was there.")]
PresenceOption = Annotated[float, typer.Option(help="Take so much from a token's logit if it was there.")]
BiasOption = Annotated[
    list[str] | None,
    typer.Option(metavar="TOKEN=BIAS", help="Add BIAS to the logit of the token with this id; may be repeated."),
]
StopTokenOption = Annotated[
    list[int] | None, typer.Option(metavar="TOKEN", help="End before the token with this id; may be repeated.")
]
IgnoreEosOption = Annotated[bool, typer.Option("--ignore-eos", help="Go on where the model would end.")]
GrammarOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Answer only what this grammar in GBNF describes.")
]
SchemaOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Answer in JSON that fits this JSON Schema: a file, or the schema itself, {…}."),
]


def biases(flags: list[str] | None) -> tuple[tuple[int, float], ...]:
    """The biases of `--logit-bias`."""
    return tuple(map(_bias, flags or ()))


def _bias(flag: str) -> tuple[int, float]:
    token, _, bias = flag.partition("=")
    try:
        return int(token), float(bias)
    except ValueError as error:
        raise typer.BadParameter(f"--logit-bias {flag!r:.60} is not TOKEN=BIAS, as in 198=-5") from error


def grammar(file: Path | None, schema: str | None) -> str | None:
    """The grammar of `--grammar` or `--json-schema`."""
    if file is not None and schema is not None:
        raise typer.BadParameter("--grammar and --json-schema exclude each other")
    if schema is not None:
        from ..runner.grammar import json_schema_to_gbnf

        inline = schema.lstrip().startswith("{")
        return json_schema_to_gbnf(schema if inline else _text(Path(schema), "--json-schema"))
    return None if file is None else _text(file, "--grammar")


def _text(path: Path, flag: str) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{flag} {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{flag} {path} is not UTF-8") from error
