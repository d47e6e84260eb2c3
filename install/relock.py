"""Writes the locks anew: constraints.txt for every extra, install/tools.txt for what installs and builds.

Usage: python3 install/relock.py VENV [--upgrade]. Versions stay as they are unless a bound moved, or with --upgrade.
No index stands in a lock: its hashes hold wherever a file comes from.
"""

import os
import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

from failures import InstallError
from locked import LOCK, ROOT, TOOLS
from logged_run import say
from pip_settings import UvSettings
from uv_command import Uv, install_uv

# For every system and every Python from here on.
_UNIVERSAL = ("--universal", "--python-version", "3.11")
_FORM = ("--generate-hashes", "--no-annotate", "--no-emit-index-url", "--custom-compile-command", "make relock")


def relock(uv: Uv, *, log: Path, upgrade: bool) -> None:
    """Raises InstallError where there is no set of versions, or no index."""
    options = [*_UNIVERSAL, *_FORM, *(["--upgrade"] if upgrade else [])]
    uv.compile_lock([ROOT / "install" / "tools.in"], TOOLS, log=log, options=options)
    uv.compile_lock([ROOT / "pyproject.toml", "--all-extras"], LOCK, log=log, options=options)
    say(f"locked: {LOCK.name}, install/{TOOLS.name}")


def of_one_index(uv: Uv) -> Uv:
    """Without extra indexes: they may hold a few of a version's files, and the lock would know only those."""
    extra = ("UV_INDEX", "UV_FIND_LINKS")
    kept = {name: value for name, value in uv.settings.environment.items() if name not in extra}
    return replace(uv, settings=UvSettings(kept, uv.settings.arguments))


def main() -> int:
    parser = ArgumentParser(description="Write the locks anew.")
    parser.add_argument("venv", type=Path)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that the bounds allow")
    arguments = parser.parse_args()
    log = arguments.venv.absolute() / "install.log"
    try:
        uv = of_one_index(install_uv(arguments.venv.absolute(), dict(os.environ), log=log))
        relock(uv, log=log, upgrade=arguments.upgrade)
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
