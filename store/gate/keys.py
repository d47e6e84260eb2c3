"""The metadata: names that mean one thing to every reader, and values of the types that llama.cpp asks for."""

from collections.abc import Iterator

from ..gguf import GgufHeader
from ..gguf.types import ARRAY, STRING
from .verdict import Problem

U16, U32, I32, F32, BOOL = 2, 4, 5, 6, 7
_LEAST_ALIGNMENT = 8
_TYPE_NAMES = {
    U16: "uint16",
    U32: "uint32",
    I32: "int32",
    F32: "float32",
    BOOL: "bool",
    STRING: "string",
    ARRAY: "array",
}

# llama.cpp stops, or aborts the process, when these have another type.
_KINDS: dict[str, tuple[int, ...]] = {
    "general.architecture": (STRING,),
    "general.type": (STRING,),
    "general.name": (STRING,),
    "general.alignment": (U32,),
    "general.file_type": (U32,),
    "split.no": (U16,),
    "split.count": (U16,),
    "split.tensors.count": (I32,),
    "tokenizer.ggml.model": (STRING,),
    "tokenizer.ggml.pre": (STRING,),
    "tokenizer.ggml.tokens": (ARRAY,),
    "tokenizer.ggml.token_type": (ARRAY,),
    "tokenizer.ggml.token_type_count": (U32,),
    "tokenizer.ggml.scores": (ARRAY,),
    "tokenizer.ggml.merges": (ARRAY,),
    "tokenizer.ggml.precompiled_charsmap": (ARRAY,),
    "tokenizer.ggml.suppress_tokens": (ARRAY,),
    "tokenizer.ggml.add_bos_token": (BOOL,),
    "tokenizer.ggml.add_eos_token": (BOOL,),
    "tokenizer.ggml.add_sep_token": (BOOL,),
    "tokenizer.ggml.add_space_prefix": (BOOL,),
    "tokenizer.ggml.remove_extra_whitespaces": (BOOL,),
    "tokenizer.chat_template": (STRING,),
}
# The same of the keys that begin with the architecture.
_OF_ARCHITECTURE: dict[str, tuple[int, ...]] = {
    "context_length": (U32,),
    "embedding_length": (U32,),
    "block_count": (U32,),
    "nextn_predict_layers": (U32,),
    "vocab_size": (U32,),
    "feed_forward_length": (U32, ARRAY),
    "expert_count": (U32,),
    "expert_used_count": (U32, ARRAY),
    "expert_group_count": (U32,),
    "expert_group_used_count": (U32,),
    "attention.head_count": (U32, ARRAY),
    "attention.head_count_kv": (U32, ARRAY),
    "attention.key_length": (U32,),
    "attention.value_length": (U32,),
    "attention.causal": (BOOL,),
    "attention.layer_norm_epsilon": (F32,),
    "attention.layer_norm_rms_epsilon": (F32,),
    "rope.dimension_count": (U32,),
    "rope.freq_base": (F32,),
    "rope.scaling.type": (STRING,),
    "rope.scaling.factor": (F32,),
    "rope.scaling.original_context_length": (U32,),
    "rope.scale_linear": (F32,),
    "pooling_type": (U32,),
}
# Text that decides what is done: every reader must read the same.
_READ_AS_CODE = ("general.architecture", "general.type", "tokenizer.")


def key_problems(header: GgufHeader) -> Iterator[Problem]:
    """What is wrong with the keys, and with the types of their values."""
    for key in header.kinds:
        yield from _name_problems(key, header)
        yield from _text_problems(key, header)
    wanted = _KINDS | {f"{header.architecture}.{key}": kinds for key, kinds in _OF_ARCHITECTURE.items()}
    for key, kind in header.kinds.items():
        if key in wanted and kind not in wanted[key]:
            names = " or ".join(_TYPE_NAMES[one] for one in wanted[key])
            yield Problem("key-type", f"key {key!r:.100} has type {_TYPE_NAMES.get(kind, kind)}, not {names}")
    for key, array in header.arrays.items():
        if array.kind == ARRAY:
            yield Problem("nested-array", f"key {key!r:.100} is an array of arrays, which no parser takes")
    if header.alignment % _LEAST_ALIGNMENT:
        yield Problem("alignment", f"alignment {header.alignment} is not a multiple of {_LEAST_ALIGNMENT}")


def _name_problems(key: str, header: GgufHeader) -> Iterator[Problem]:
    if not key:
        yield Problem("key-name", "a key is empty")
    if "\0" in key:
        # Two readers would disagree: in C the name ends there.
        yield Problem("key-name", f"key {key!r:.100} holds a zero byte")
    if "\ufffd" in key and key in header.garbled:
        yield Problem("utf-8", f"key {key!r:.100} is, or holds, text that is not UTF-8")


def _text_problems(key: str, header: GgufHeader) -> Iterator[Problem]:
    value = header.metadata.get(key)
    if not isinstance(value, str) or not (key.startswith(_READ_AS_CODE) or key.endswith(".rope.scaling.type")):
        return
    if "\0" in value:
        yield Problem("zero-byte", f"the text of {key!r:.100} holds a zero byte")
    if "\ufffd" in value and key in header.garbled:
        yield Problem("utf-8", f"the text of {key!r:.100} is not UTF-8")
