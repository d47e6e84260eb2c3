"""The tensor table: every tensor inside the file, in its place, and of a type that can be computed with."""

import re
from collections.abc import Iterator

from ..gguf import GgufHeader, Tensor
from .verdict import Problem

MAX_NAME = 63  # bytes; GGML_MAX_NAME less the zero at the end

# What ggml has for intermediate results or plain numbers, and no product for: it would call through a null pointer.
_NOT_FOR_PRODUCTS = frozenset(["Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"])
_IN_PRODUCTS = re.compile(
    r"(token_embd|output|blk\.\d+\.(attn_(q|k|v|qkv|output)|ffn_(up|down|gate)(_exps|_shexp)?))\.weight"
)
_ADDED_OR_SCALED = re.compile(r"(.*_norm\.weight|(blk\.\d+\.)?(attn|ffn|output)\w*\.bias)")


def tensor_problems(header: GgufHeader) -> Iterator[Problem]:
    """What is wrong with the names, shapes, types and places of the tensors."""
    seen: set[str] = set()
    end = 0
    for tensor in header.tensors:
        yield from _name_problems(tensor.name, header, twice=tensor.name in seen)
        seen.add(tensor.name)
        yield from _place_problems(tensor, end, header.alignment)
        yield from _type_problems(tensor)
        end = tensor.offset + -(-tensor.size // header.alignment) * header.alignment


def _name_problems(name: str, header: GgufHeader, *, twice: bool) -> Iterator[Problem]:
    if not name or len(name.encode()) > MAX_NAME:
        yield Problem("tensor-name", f"the name of tensor {name!r:.100} has not 1 to {MAX_NAME} bytes")
    if "\0" in name or ("\ufffd" in name and name in header.garbled):
        yield Problem("tensor-name", f"the name of tensor {name!r:.100} holds a zero byte or is not UTF-8")
    if twice:
        yield Problem("duplicate-tensor", f"tensor {name!r:.100} stands in the table twice")


def _place_problems(tensor: Tensor, end: int, alignment: int) -> Iterator[Problem]:
    place = f"tensor {tensor.name!r:.100} lies at offset {tensor.offset}"
    if 0 in tensor.shape:
        yield Problem("tensor-shape", f"tensor {tensor.name!r:.100} has a dimension of 0: {tensor.shape}")
    if tensor.offset % alignment:
        yield Problem("alignment", f"{place}, no multiple of {alignment}")
    elif tensor.offset < end:
        yield Problem("overlap", f"{place}, inside the one before, which ends at {end}")
    elif tensor.offset > end:
        yield Problem("gap", f"{place}, the one before ends at {end}")


def _type_problems(tensor: Tensor) -> Iterator[Problem]:
    if tensor.type in _NOT_FOR_PRODUCTS and _IN_PRODUCTS.fullmatch(tensor.name):
        yield Problem("tensor-type", f"tensor {tensor.name!r:.100} has type {tensor.type}, no type of weights")
    if tensor.type != "F32" and len(tensor.shape) < 2 and _ADDED_OR_SCALED.fullmatch(tensor.name):
        yield Problem("tensor-type", f"tensor {tensor.name!r:.100} has type {tensor.type}, not F32")
