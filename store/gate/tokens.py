"""The texts of the tokens: told apart by every reader, and enough of them to spell any text."""

import re
from array import array as compact
from collections.abc import Iterator
from typing import BinaryIO

from ..gguf import Array
from ..gguf.arrays import strings
from .verdict import Problem

MAX_TOKEN = 1 << 13  # bytes; llama.cpp's trie of tokens goes one call deeper with each

_BUCKETS = 64
# The first byte of a token of RWKV's, as it is written: two spellings of one byte count as two, which is stricter.
_ESCAPED = re.compile(rb"\\x[0-9a-f]{2}|\\[^x]|[^\\]", re.DOTALL)


def token_problems(file: BinaryIO, tokens: Array, *, kind: str) -> Iterator[Problem]:
    """What is wrong with the tokens of a tokenizer of this kind."""
    # Hashes of 64 bits, in buckets: 8 bytes a token, and a set of one bucket at a time.
    buckets = [compact("q") for _ in range(_BUCKETS)]
    garbled = long = False
    bytes_: set[bytes] = set()
    for batch in _as_c_reads(file, tokens):
        for token in batch:
            found = hash(token)
            buckets[found % _BUCKETS].append(found)
        bytes_.update(token for token in batch if len(token) == 1 or (len(token) == 6 and token.startswith(b"<0x")))
        long |= max(map(len, batch)) > MAX_TOKEN
        garbled |= not is_utf8(batch)
    if garbled:
        yield Problem("utf-8", "there are tokens that are not UTF-8")
    if long:
        yield Problem("vocabulary", f"there are tokens of more than {MAX_TOKEN} bytes")
    for index, bucket in enumerate(buckets):
        if len(set(bucket)) < len(bucket):
            repeated = _repeated(file, tokens, index)
            yield Problem("duplicate-token", f"token {repeated!r:.100} stands in the vocabulary twice")
            break
    if kind == "llama":
        yield from _lacking_bytes(bytes_)
    if kind == "rwkv":
        yield from _dead_ends(file, tokens)


def _lacking_bytes(found: set[bytes]) -> Iterator[Problem]:
    lacking = sum(b"<0x%02X>" % byte not in found and bytes([byte]) not in found for byte in range(256))
    if lacking:
        # A character that is no token is spelt in bytes: llama.cpp ends the process when one of these is none either.
        yield Problem("byte-token", f"{lacking} of the 256 bytes are no tokens")


def _dead_ends(file: BinaryIO, tokens: Array) -> Iterator[Problem]:
    """Bytes that begin a token and are none: llama.cpp would look for the rest of the text without end."""
    begun: set[bytes] = set()
    single: set[bytes] = set()
    for batch in _as_c_reads(file, tokens):
        for token in batch:
            first = _ESCAPED.match(token)
            if first is None:
                yield Problem("byte-token", f"token {token!r:.100} has an escape that means nothing")
                return
            begun.add(first[0])
            if first.end() == len(token):
                single.add(first[0])
    if begun - single:
        yield Problem("byte-token", f"{len(begun - single)} bytes begin tokens and are none themselves")


def _as_c_reads(file: BinaryIO, tokens: Array) -> Iterator[list[bytes]]:
    """The tokens as llama.cpp tells them apart: each ends at a zero byte, and an empty one gets a name."""
    first = 0
    for batch in strings(file, tokens):
        last = first + len(batch)
        if any(b"\0" in token or not token for token in batch):
            batch = [token.partition(b"\0")[0] or b"[EMPTY_%d]" % (first + n) for n, token in enumerate(batch)]
        yield batch
        first = last


def is_utf8(batch: list[bytes]) -> bool:
    """Whether all of them are UTF-8."""
    try:
        b"\n".join(batch).decode()
    except UnicodeDecodeError:
        return False
    return True


def _repeated(file: BinaryIO, tokens: Array, bucket: int) -> bytes:
    seen: set[int] = set()
    for batch in _as_c_reads(file, tokens):
        for token in batch:
            if hash(token) % _BUCKETS == bucket:
                if hash(token) in seen:
                    return token
                seen.add(hash(token))
    return b""
