"""Run receipts on disk: written whole or not at all, and read with a bound."""

import os
from pathlib import Path

from ...store.disk import PartFile, disk_errors
from ...store.errors import DiskError, FileNotThere, FormatTooNew
from ...store.target import Target, check
from ..errors import InvalidReceipt
from .reading import decode
from .receipt import Receipt

MAX_BYTES = 64 * 1024 * 1024


def writable(path: Path) -> Path:
    """Where a receipt given as `path` goes, links followed; raises DiskError when it could not be written there."""
    target = Path(os.path.realpath(path))
    for one in (path.absolute(), target):
        check(Target(one, force=True))
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise DiskError(f"{target.parent}: permission denied", hint="name a file in a folder that can be written")
    return target


def write(receipt: Receipt, path: Path) -> None:
    """Write it, replacing what stands there. Raises NoSpace and DiskError; then the old file is still there."""
    with PartFile.beside(path.parent) as part:
        part.write(receipt.encode())
        part.commit(path)


def read(path: Path) -> Receipt:
    """The receipt in a file. Raises FileNotThere, DiskError, InvalidReceipt and FormatTooNew."""
    try:
        return decode(_content(path))
    except InvalidReceipt as error:
        raise InvalidReceipt(f"{path} is not a sound run receipt: {error}", hint=error.hint) from error
    except FormatTooNew as error:
        raise FormatTooNew(f"{path} was written by a later llstore: {error}", hint=error.hint) from error


def _content(path: Path) -> bytes:
    if not path.exists():
        raise FileNotThere(f"no file {path}")
    with disk_errors(path):
        if not path.is_file():
            # A pipe would be waited for.
            raise InvalidReceipt("it is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidReceipt(f"it is longer than {MAX_BYTES} bytes")
    return data
