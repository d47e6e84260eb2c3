"""From an error to one line on stderr and an exit code: the only place that knows the codes."""

import errno
import json
import os
import re
import sys
import traceback
from contextlib import suppress

import typer

from ..runner import errors as runner_errors
from ..store import errors as store_errors
from .output import printable
from .settings import InvalidSettings

FAILED, USAGE, NOT_FOUND, DAMAGED, UNREACHABLE, NO_SPACE, UNSAFE, LOCK = range(1, 9)
INTERRUPTED = 130

# The first row whose class fits gives the code.
_CODES: tuple[tuple[type[Exception], int], ...] = (
    (store_errors.InvalidRef, USAGE),
    (store_errors.AmbiguousRef, USAGE),
    (store_errors.InvalidUrl, USAGE),
    (store_errors.InvalidSource, USAGE),
    (store_errors.InvalidLabel, USAGE),
    (store_errors.InvalidFilter, USAGE),
    (store_errors.InvalidProject, USAGE),
    (InvalidSettings, USAGE),
    (runner_errors.InvalidSampling, USAGE),
    (runner_errors.InvalidEngine, USAGE),
    (runner_errors.InvalidReceipt, USAGE),
    (runner_errors.InvalidLoad, USAGE),
    (runner_errors.InvalidTenant, USAGE),
    (runner_errors.InvalidKey, USAGE),
    (runner_errors.PromptEmpty, USAGE),
    (runner_errors.PromptTooLong, USAGE),
    (store_errors.NotFound, NOT_FOUND),
    (runner_errors.NoSuchKey, NOT_FOUND),
    (runner_errors.NoSuchTenant, NOT_FOUND),
    (store_errors.Damaged, DAMAGED),
    (store_errors.Unreachable, UNREACHABLE),
    (store_errors.Refused, UNREACHABLE),
    (store_errors.NoSpace, NO_SPACE),
    (runner_errors.NoRoom, NO_SPACE),
    (store_errors.Unsafe, UNSAFE),
    (store_errors.LockBroken, LOCK),
    (store_errors.StoreError, FAILED),
    (runner_errors.RunnerError, FAILED),
)


def exit_code(error: BaseException) -> int:
    """The exit code of one of our errors; 1 for any other."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def report(error: BaseException, *, as_json: bool) -> int:
    """Say what happened on stderr (and as JSON on stdout), and return the exit code."""
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return _say("interrupted", kind="interrupted", hint="", code=INTERRUPTED, as_json=as_json)
    if isinstance(error, BrokenPipeError):
        # The reader of our output left: nothing can be said to it.
        return FAILED
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path if context else 'llstore'} --help shows how"
        return _say(error.format_message(), kind="usage", hint=hint, code=USAGE, as_json=as_json)
    if isinstance(error, tuple(kind for kind, _ in _CODES)):
        hint = getattr(error, "hint", "")
        return _say(str(error), kind=_kind(error), hint=hint, code=exit_code(error), as_json=as_json)
    if isinstance(error, OSError):
        return _refused_by_the_system(error, as_json=as_json)
    return _bug(error, as_json=as_json)


def _refused_by_the_system(error: OSError, *, as_json: bool) -> int:
    code = NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else FAILED
    where = f"{error.filename}: " if error.filename else ""
    reason = (error.strerror or str(error)).lower()
    return _say(f"{where}{reason}", kind="system", hint="", code=code, as_json=as_json)


def _bug(error: BaseException, *, as_json: bool) -> int:
    if os.environ.get("LLSTORE_DEBUG"):
        traceback.print_exception(error)
    message = f"a fault in llstore itself: {type(error).__name__}: {error}"
    return _say(message, kind="bug", hint="LLSTORE_DEBUG=1 shows where", code=FAILED, as_json=as_json)


def _say(message: str, *, kind: str, hint: str, code: int, as_json: bool) -> int:
    line = " ".join(f"llstore: {message}".split()) + (f" ({hint})" if hint else "")
    with suppress(OSError):
        print(printable(line), file=sys.stderr)
    if as_json:
        with suppress(OSError):
            print(json.dumps({"error": {"code": code, "kind": kind, "message": message, "hint": hint}}), flush=True)
    return code


def _kind(error: BaseException) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
