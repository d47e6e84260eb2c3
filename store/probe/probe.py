"""Trying all of a bucket's promises, and cleaning up behind."""

import time
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from .. import ulid
from ..backends import Backend
from ..errors import KeyNotFound, Refused, StoreError
from ..layout import FORMAT_KEY
from .promises import READ_ONLY, WRITABLE, Check
from .trial import Broken, Finding, Trial, Unsettled

FOLDER = "probe/"


def probe(
    backend: Backend, *, elsewhere: Backend | None = None, clock: Callable[[], float] = time.time
) -> tuple[Finding, ...]:
    """Try the bucket's promises under keys of its own, which it removes again; `elsewhere` is a bucket that is none.

    A bucket that cannot be written is tried on `llstore.json`. Raises BucketNotFound, Unreachable, or Refused when
    nothing at all is allowed.
    """
    trial = Trial(backend, f"{FOLDER}{ulid.mint(clock())}/", clock, elsewhere)
    _meet(trial)
    checks = WRITABLE if backend.properties.writable else READ_ONLY
    found: list[Finding] = []
    try:
        for name, check in checks.items():
            found.append(_finding(name, check, trial))
    finally:
        left = _clear(trial)
    if left:
        found.append(Finding("cleaning up", None, f"could not be removed: {' '.join(left)}"))
    return tuple(found)


def nowhere(url: str) -> str | None:
    """The URL of a bucket beside this one that nobody has made, or None where there can be none."""
    parts = urlsplit(url)
    name = ulid.mint(time.time()).lower()
    if parts.scheme == "s3":
        # The longest name that S3 takes is 63 letters.
        return urlunsplit(parts._replace(netloc=f"{parts.netloc[:36]}-{name}"))
    if parts.scheme == "file":
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}-{name}"))
    return None


def _meet(trial: Trial) -> None:
    # What fails here fails everywhere: it is an error, not a finding. A missing key may be refused, though.
    try:
        trial.read(FORMAT_KEY)
    except KeyNotFound:
        return
    except Refused:
        if not trial.backend.properties.writable:
            raise
        trial.write("meeting", b"hello")


def _finding(name: str, check: Check, trial: Trial) -> Finding:
    try:
        return Finding(name, True, check(trial))
    except Unsettled as error:
        return Finding(name, None, str(error))
    except Broken as error:
        return Finding(name, False, str(error))
    except StoreError as error:
        return Finding(name, False, f"{error}" + (f" ({error.hint})" if error.hint else ""))


def _clear(trial: Trial) -> list[str]:
    left = []
    for key in trial.written:
        try:
            trial.backend.delete(key)
        except StoreError:
            left.append(key)
    return left
