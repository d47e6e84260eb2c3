"""Installs llstore from this clone into a virtual environment; llama.cpp is compiled when an extra needs it.

Usage: python3 install [--venv .venv] [--extras run,serve] [--only-llama]
Standard library only: it runs before anything is installed.
"""

import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import FrameType

if sys.version_info < (3, 11):  # noqa: UP036 (what runs this is whatever python3 is)
    sys.exit("error: Python 3.11 or later is needed; name it with PYTHON=python3.11")

from extras import extra_names, known_extras, needs_llama
from failures import InstallError, system_error
from llama_build import llama_wheel, plan_build
from locked import LOCK, ROOT
from logged_run import Command, run_logged, say
from uv_command import Uv, install_uv

INTERRUPTED = 130


def main() -> int:
    arguments = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)  # also where a shell without job control had it ignored
    try:
        _install(arguments.venv.absolute(), arguments.extras, only_llama=arguments.only_llama)
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a folder that cannot be written, or a full disk
        print(f"error: {system_error(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run it again: it goes on where it stopped", file=sys.stderr)
        return INTERRUPTED
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _arguments() -> Namespace:
    parser = ArgumentParser(prog="python3 install", description="Install llstore from this clone.")
    there_are = ", ".join(sorted(known_extras()))
    venv_help = "the virtual environment, made when it is not there (default: .venv in this clone)"
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help=venv_help)
    extras_help = f"separated by commas, of {there_are} (default: run)"
    parser.add_argument("--extras", type=extra_names, default=("run",), help=extras_help)
    parser.add_argument("--only-llama", action="store_true", help="llama-cpp-python, and nothing of this clone")
    return parser.parse_args()


def _install(venv: Path, extras: tuple[str, ...], *, only_llama: bool) -> None:
    unknown = sorted(set(extras) - known_extras())
    if unknown:
        hint = f"there are {', '.join(sorted(known_extras()))}"
        raise InstallError(f"there is no extra {', '.join(unknown)}", hint=hint)
    log = venv / "install.log"
    # Planned first: who has no compiler should not wait for downloads to hear of it.
    plan = plan_build(dict(os.environ)) if only_llama or needs_llama(extras) else None
    uv = _prepare(venv, log=log)
    options: tuple[str, ...] = ()
    if plan:
        wheel = llama_wheel(plan, uv)
        uv.install([wheel], python=uv.python, lock=LOCK, log=log, options=_replacing(venv, plan.folder.path.name))
        (venv / "llama.txt").write_text(plan.folder.path.name + "\n")
    if not only_llama:
        wanted = f"llstore[{','.join(extras)}] @ {ROOT.as_uri()}" if extras else f"llstore @ {ROOT.as_uri()}"
        options = ("--reinstall-package", "llstore")  # its version stays, its source does not
        uv.install([wanted], python=uv.python, lock=LOCK, log=log, options=options)
        say(f"llstore is installed: {venv / 'bin' / 'llstore'} --help")


def _replacing(venv: Path, build: str) -> tuple[str, ...]:
    """Another build of the same version is another wheel, which the version does not show."""
    noted = venv / "llama.txt"
    same = noted.exists() and noted.read_text().strip() == build
    return () if same else ("--reinstall-package", "llama-cpp-python")


def _prepare(venv: Path, *, log: Path) -> Uv:
    if not (venv / "bin" / "python").exists():
        command = Command([sys.executable, "-m", "venv", venv], f"{venv} was not made")
        run_logged(command, log=log, progress=lambda seconds: f"making {venv}, {seconds} s")
    return install_uv(venv, dict(os.environ), log=log)


if __name__ == "__main__":
    sys.exit(main())
