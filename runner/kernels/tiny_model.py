"""A model made on the spot, in GGUF: a llama of one layer that goes on with the alphabet.

Keys and tensor names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Where scales lie in a block:
ggml-common.h of the same repository.
"""

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...store.gguf.types import TENSOR_TYPES

PROMPT, ANSWER = "a", "bcdefghijklmnopqrstuvwxyz"

CONTEXT = 512
WIDTH = 256  # numbers for a token, and of every row: a block of the K and IQ types has as many
HEADS = 4
BYTES = 256
ALIGNMENT = 32
SPREAD = 2e-6  # the layer's weights are that times a small whole number: it computes, and changes no answer

_BOS, _EOS = "<|bos|>", "<|endoftext|>"
_MERGE = "h e"  # llama.cpp wants at least one
_NORMAL, _CONTROL = 1, 3  # token types
_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _INT32 = 4, 6, 7, 8, 9, 5  # metadata value types
_TYPES = {name: (number, count, size) for number, (name, count, size) in TENSOR_TYPES.items()}
# Where a block holds its scales, as half-precision numbers. A block of another type is zeros.
_SCALES = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "IQ4_XS"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q6_K": (208,),
}

_Matrix = np.ndarray[Any, np.dtype[np.float32]]


def tiny_model(weights: str) -> bytes:
    """The file's bytes, always the same ones. The matrices of its layer are of type `weights` ("Q4_1"), all others F32.

    After a letter it chooses the next one, after z the end: the answer to PROMPT is ANSWER. Raises KeyError for a type
    that GGUF does not have.
    """
    tensors = _tensors(weights)
    metadata = _metadata(weights)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)) + b"".join(metadata)
    offset = 0
    for name, shape, kind, data in tensors:
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, _TYPES[kind][0], offset)
        offset += len(_padded(data))
    return _padded(head) + b"".join(_padded(data) for *_, data in tensors)


def _tensors(weights: str) -> list[tuple[str, tuple[int, ...], str, bytes]]:
    """Name, lengths (a row's first), type and bytes of each."""
    embedding, output = _alphabet()
    ones = ("F32", np.ones(WIDTH, np.float32).tobytes())
    square, inner = (WIDTH, WIDTH), _layer_matrix(weights)
    words = ((WIDTH, len(_vocabulary())), "F32")
    matrices = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    return [
        ("token_embd.weight", *words, embedding.tobytes()),
        ("output_norm.weight", (WIDTH,), *ones),
        ("output.weight", *words, output.tobytes()),
        *((f"blk.0.{name}.weight", (WIDTH,), *ones) for name in ("attn_norm", "ffn_norm")),
        *((f"blk.0.{name}.weight", square, weights, inner) for name in matrices),
    ]


def _alphabet() -> tuple[_Matrix, _Matrix]:
    """What stands for each token, and what each next token is chosen by: every byte has a direction of its own."""
    vocabulary = _vocabulary()
    embedding = np.eye(len(vocabulary), WIDTH, dtype=np.float32)
    output = np.zeros((len(vocabulary), WIDTH), np.float32)
    for letter in range(ord("a"), ord("z")):
        output[letter + 1, letter] = 1
    output[vocabulary.index(_EOS), ord("z")] = 1
    return embedding, output


def _layer_matrix(kind: str) -> bytes:
    _, count, size = _TYPES[kind]
    if kind == "F32":
        return np.full((WIDTH, WIDTH), SPREAD, np.float32).tobytes()
    if kind == "F16":
        return np.full((WIDTH, WIDTH), SPREAD, np.float16).tobytes()
    blocks = np.zeros((WIDTH * WIDTH // count, size), np.uint8)
    if kind in _SCALES:
        blocks[:] = np.random.RandomState(0).randint(0, 256, blocks.shape)
        for at in _SCALES[kind]:
            blocks[:, at : at + 2] = np.frombuffer(np.float16(SPREAD).tobytes(), np.uint8)
    return blocks.tobytes()


def _metadata(weights: str) -> list[bytes]:
    vocabulary = _vocabulary()
    kinds = [_CONTROL if token in (_BOS, _EOS) else _NORMAL for token in vocabulary]
    sizes = {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": 1,
        "feed_forward_length": WIDTH,
        "attention.head_count": HEADS,
        "attention.head_count_kv": HEADS,
        "rope.dimension_count": WIDTH // HEADS,
        "vocab_size": len(vocabulary),
    }
    return [
        _key("general.architecture", _STRING, _text("llama")),
        _key("general.name", _STRING, _text(f"tiny alphabet {weights}")),
        *(_key(f"llama.{name}", _UINT32, struct.pack("<I", value)) for name, value in sizes.items()),
        _key("llama.attention.layer_norm_rms_epsilon", _FLOAT32, struct.pack("<f", 1e-5)),
        _key("tokenizer.ggml.model", _STRING, _text("gpt2")),
        _key("tokenizer.ggml.pre", _STRING, _text("gpt-2")),
        _key("tokenizer.ggml.tokens", _ARRAY, _array(_STRING, map(_text, vocabulary))),
        _key("tokenizer.ggml.token_type", _ARRAY, _array(_INT32, (struct.pack("<i", kind) for kind in kinds))),
        _key("tokenizer.ggml.merges", _ARRAY, _array(_STRING, [_text(_MERGE)])),
        _key("tokenizer.ggml.bos_token_id", _UINT32, struct.pack("<I", vocabulary.index(_BOS))),
        _key("tokenizer.ggml.eos_token_id", _UINT32, struct.pack("<I", vocabulary.index(_EOS))),
        _key("tokenizer.ggml.add_bos_token", _BOOL, b"\x01"),
    ]


def _vocabulary() -> list[str]:
    return [*_byte_characters(), _MERGE.replace(" ", ""), _BOS, _EOS]


def _byte_characters() -> list[str]:
    """The character that stands for each byte in a GPT-2 vocabulary (bytes_to_unicode in GPT-2's encoder.py)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    beyond = iter(range(BYTES, 2 * BYTES))
    return [chr(byte if byte in printable else next(beyond)) for byte in range(BYTES)]


def _key(name: str, kind: int, value: bytes) -> bytes:
    return _text(name) + struct.pack("<I", kind) + value


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _array(kind: int, values: Iterable[bytes]) -> bytes:
    found = list(values)
    return struct.pack("<IQ", kind, len(found)) + b"".join(found)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)
