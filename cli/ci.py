"""`llstore ci`: what a CI service asks."""

from typing import Annotated

import typer

from ..store.lock import load
from ..store.lock.key import PREFIX, cache_key
from . import settings
from .options import JsonOption, OfflineOption, ProfileOption, QuietOption
from .output import print_json

app = typer.Typer(help="What a CI service asks.", rich_markup_mode=None)


@app.callback()
def _words() -> None:
    """What a CI service asks."""


@app.command("key")
def key(
    profile: ProfileOption = None,
    prefix: Annotated[bool, typer.Option("--prefix", help="Print what all keys begin with.")] = False,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Print a cache key: the same for the same locked bytes, another for others."""
    found = cache_key(load(settings.project().lock).of_profiles(profile or ()))
    if json:
        print_json({"key": found, "prefix": PREFIX})
    else:
        print(PREFIX if prefix else found)
