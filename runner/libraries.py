"""llama.cpp's libraries as files: where they lie, and whether they are whole. Nothing is loaded."""

import os
import struct
from importlib.util import find_spec
from pathlib import Path

from .errors import LoadFailed

VARIABLE = "LLAMA_CPP_LIB_PATH"  # the bindings' own
_ELF64 = b"\x7fELF\x02\x01"  # little-endian
_LOADED = 1  # PT_LOAD


def library_folder() -> Path:
    """The folder that the bindings load from; one that is not there without llama-cpp-python."""
    spec = find_spec("llama_cpp")
    package = Path(spec.origin).parent / "lib" if spec and spec.origin else Path("/nonexistent")
    return Path(os.environ.get(VARIABLE) or package)


def require_whole_libraries() -> None:
    """Raises LoadFailed for a library that is shorter than its own head says: to load it may end the process."""
    for path in sorted(library_folder().glob("lib*.so*")):
        size = path.stat().st_size
        with path.open("rb") as file:
            needed = loaded_bytes(file.read(4096))
        if size < needed:
            raise LoadFailed(f"{path} is cut off after {size} of {needed} bytes", hint=library_hint())


def library_hint() -> str:
    """What to do about libraries that cannot be used."""
    if os.environ.get(VARIABLE):
        return f"{VARIABLE} names the folder: leave it out, or name another"
    return "install it again: pip install --force-reinstall --no-deps llama-cpp-python, or make install in a clone"


def loaded_bytes(head: bytes) -> int:
    """How long a shared library must be to be loaded, by its program headers; 0 where `head` does not tell.

    https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.pheader.html
    """
    if not head.startswith(_ELF64) or len(head) < 64:
        return 0
    (table,), (size, count) = struct.unpack_from("<Q", head, 32), struct.unpack_from("<HH", head, 54)
    most = 0
    for at in range(table, table + size * count, max(size, 1)):
        if at + 40 > len(head):
            break
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", head, at)
        most = max(most, start + length if kind == _LOADED else 0)
    return most
