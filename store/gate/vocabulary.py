"""The vocabulary: lists that fit each other, tokens told apart, and special tokens that exist."""

from array import array as compact
from collections.abc import Iterator
from struct import unpack
from typing import BinaryIO

from ..gguf import GgufHeader
from ..gguf.arrays import first_bytes, strings
from ..gguf.types import STRING
from .keys import F32, I32, U32
from .tokens import is_utf8, token_problems
from .verdict import Problem

MAX_TOKENS = 1 << 19  # gemma's are half as many

_GGML = "tokenizer.ggml."
_NO_VOCABULARY = ("none", "no_vocab")
_MERGED = ("gpt2", "hybriddna", "whitespace", "gemma4")
_WITHOUT_BYTES = ("bert",)
_BYTE = 6  # LLAMA_TOKEN_TYPE_BYTE
_BYTES = (0, 1)  # uint8, int8
# The special tokens that llama.cpp assumes when a file names none.
_USUAL = {
    "llama": {"bos": 1, "eos": 2},
    "gpt2": {"bos": 11, "eos": 11},
    "hybriddna": {"bos": 11, "eos": 11},
    "whitespace": {"bos": 11, "eos": 11},
    "bert": {"bos": 101},
    "t5": {"eos": 1},
    "plamo2": {"bos": 1, "eos": 2},
}
_ADDED_UNASKED = {"llama": "bos", "bert": "bos", "gemma4": "bos", "t5": "eos"}


def vocabulary_problems(header: GgufHeader, file: BinaryIO) -> Iterator[Problem]:
    """What is wrong with the vocabulary; nothing when the file has none."""
    size = header.number(f"{header.architecture}.vocab_size")
    if size is not None and not 0 <= size <= MAX_TOKENS:
        yield Problem("vocabulary", f"vocab_size is {size}, more than {MAX_TOKENS}")
    if header.tokenizer is None or header.tokenizer in _NO_VOCABULARY:
        return
    tokens = header.arrays.get(_GGML + "tokens")
    if tokens is None or tokens.kind != STRING or not 1 <= tokens.length <= MAX_TOKENS:
        yield Problem("vocabulary", f"there is no list of 1 to {MAX_TOKENS} tokens")
        return
    yield from _list_problems(header, tokens.length)
    yield from _type_problems(header, tokens.length, file)
    yield from _special_problems(header, tokens.length)
    yield from _embedding_problems(header, tokens.length)
    yield from token_problems(file, tokens, kind=header.tokenizer)
    yield from _merge_problems(header, file)
    yield from _charsmap_problems(header, file)


def _list_problems(header: GgufHeader, count: int) -> Iterator[Problem]:
    for name, kinds in (("scores", (F32, I32)), ("token_type", (I32,))):
        found = header.arrays.get(_GGML + name)
        if found and (found.kind not in kinds or found.length < count):
            yield Problem("vocabulary", f"{name} is not a list of {count} numbers, one a token")
    suppressed = header.arrays.get(_GGML + "suppress_tokens")
    if suppressed and suppressed.kind != I32:
        yield Problem("vocabulary", "suppress_tokens is not a list of tokens")


def _type_problems(header: GgufHeader, count: int, file: BinaryIO) -> Iterator[Problem]:
    found = header.arrays.get(_GGML + "token_type")
    if header.tokenizer not in _WITHOUT_BYTES or not found or found.kind != I32 or found.length < count:
        return
    # llama.cpp ends the process when it spells such a token.
    if _BYTE in compact("i", first_bytes(file, found, 4 * count)):
        yield Problem("token-type", f"a tokenizer of the kind {header.tokenizer} has no tokens that are bytes")


def _special_problems(header: GgufHeader, count: int) -> Iterator[Problem]:
    for key, kind in header.kinds.items():
        if not (key.startswith(_GGML) and key.endswith("_token_id")):
            continue
        found = header.number(key)
        if kind != U32 or found is None or found >= count:
            yield Problem("special-token", f"{key!r:.100} is {found}, which is none of the {count} tokens")
    for name in ("bos", "eos"):
        usual = _USUAL.get(str(header.tokenizer), {}).get(name, count)
        if _is_added(header, name) and header.number(f"{_GGML}{name}_token_id") is None and usual >= count:
            yield Problem("special-token", f"the {name} token is to be added to every text, and there is none")


def _is_added(header: GgufHeader, name: str) -> bool:
    unasked = _ADDED_UNASKED.get(str(header.tokenizer)) == name
    asked = header.metadata.get(f"{_GGML}add_{name}_token", unasked)
    return bool(asked) or (unasked and header.tokenizer == "gemma4")


def _embedding_problems(header: GgufHeader, count: int) -> Iterator[Problem]:
    found = next((tensor for tensor in header.tensors if tensor.name == "token_embd.weight"), None)
    if found and (len(found.shape) < 2 or found.shape[1] != count):
        yield Problem("embedding", f"the embedding has shape {found.shape}, the vocabulary {count} tokens")


def _merge_problems(header: GgufHeader, file: BinaryIO) -> Iterator[Problem]:
    merges = header.arrays.get(_GGML + "merges")
    if merges is None:
        if header.tokenizer in _MERGED and header.text(_GGML + "pre") != "kimi-k2":
            yield Problem("merges", f"a tokenizer of the kind {header.tokenizer} has merges, and there are none")
        return
    if merges.kind != STRING:
        yield Problem("merges", "merges is not a list of text")
        return
    if not all(map(_are_merges, strings(file, merges))):
        yield Problem("merges", "there are merges that are not two pieces of text with a space between")


def _are_merges(batch: list[bytes]) -> bool:
    return is_utf8(batch) and all(b" " in merge[1:-1] and b"\0" not in merge for merge in batch)


def _charsmap_problems(header: GgufHeader, file: BinaryIO) -> Iterator[Problem]:
    found = header.arrays.get(_GGML + "precompiled_charsmap")
    if found is None:
        return
    fits = found.kind in _BYTES and found.length > 4
    if not fits or unpack("<I", first_bytes(file, found, 4))[0] + 4 >= found.length:
        yield Problem("charsmap", "precompiled_charsmap does not hold what its first number says")
