"""Flags that several commands share, and the one value that they make together."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, get_type_hints

Command = Callable[..., None]


def flags(
    parameter: str, build: Callable[..., object], *, without: tuple[str, ...] = ()
) -> Callable[[Command], Command]:
    """Gives a command the parameters of `build` as flags: it gets what `build` makes of them as its `parameter`.

    `without` leaves out some, which then have their defaults.
    """

    def decorate(command: Command) -> Command:
        own = inspect.signature(command).parameters.values()
        shared = [flag for name, flag in inspect.signature(build).parameters.items() if name not in without]

        @wraps(command)
        def called(**given: Any) -> None:
            made = build(**{flag.name: given.pop(flag.name) for flag in shared})
            command(**{parameter: made, **given})

        hints = {**get_type_hints(command, include_extras=True), **get_type_hints(build, include_extras=True)}
        listed = [new for old in own for new in (shared if old.name == parameter else [old])]
        # typer reads a command's flags from its signature and annotations.
        called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [flag.replace(kind=inspect.Parameter.KEYWORD_ONLY) for flag in listed]
        )
        called.__annotations__ = {flag.name: hints[flag.name] for flag in listed}
        return called

    return decorate
