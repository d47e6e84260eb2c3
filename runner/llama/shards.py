"""The shards of a split model, before llama.cpp joins them: it aborts on a shard whose number has another type."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_UINT16 = 2  # enum gguf_type: what gguf-split writes these keys as

Place = tuple[int, int]  # the shard's number from 0, and how many there are


class _InitParams(ctypes.Structure):
    """struct gguf_init_params of ggml's gguf.h."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


def problem(library: Any, paths: Sequence[Path]) -> str | None:
    """Why these files, in this order, are not one model; None when nothing speaks against it.

    `library` is llama.cpp's, whose own reader of GGUF is asked: what it sees is what it will load.
    """
    places = [_place(library, path) for path in paths]
    total = len(paths)
    for n, place in enumerate(places):
        if place is None:
            return None if total == 1 else f"file {n + 1} of {total} is no shard of a split model"
        number, count = place
        if count != total:
            return f"file {n + 1} is shard {number + 1} of {count}, but {total} {'was' if total == 1 else 'were'} given"
        if number != n:
            return f"file {n + 1} of {total} is shard {number + 1}: shards must come in order"
    return None


def _place(library: Any, path: Path) -> Place | None:
    with _opened(library, path) as header:
        if header is None:
            return None
        number, count = (_uint16(library, header, key) for key in (b"split.no", b"split.count"))
    return None if number is None or not count else (number, count)


@contextmanager
def _opened(library: Any, path: Path) -> Iterator[int | None]:
    open_, free = library.gguf_init_from_file, library.gguf_free
    open_.restype, open_.argtypes = ctypes.c_void_p, [ctypes.c_char_p, _InitParams]
    free.restype, free.argtypes = None, [ctypes.c_void_p]
    header = open_(bytes(path), _InitParams(no_alloc=True, ctx=None))
    try:
        yield header
    finally:
        if header:
            free(header)


def _uint16(library: Any, header: int, key: bytes) -> int | None:
    find, kind, value = library.gguf_find_key, library.gguf_get_kv_type, library.gguf_get_val_u16
    find.restype, find.argtypes = ctypes.c_int64, [ctypes.c_void_p, ctypes.c_char_p]
    kind.restype, kind.argtypes = ctypes.c_int, [ctypes.c_void_p, ctypes.c_int64]
    value.restype, value.argtypes = ctypes.c_uint16, [ctypes.c_void_p, ctypes.c_int64]
    at = find(header, key)
    return int(value(header, at)) if at >= 0 and kind(header, at) == _UINT16 else None
