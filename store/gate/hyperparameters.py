"""The numbers that shape a model: those that llama.cpp divides by, loops over, or aborts the process for."""

import math
from collections.abc import Iterator
from typing import BinaryIO

from ..gguf import GgufHeader
from ..gguf.arrays import numbers
from .keys import I32, U32
from .verdict import Problem

MAX_LAYERS = 512  # LLAMA_MAX_LAYERS
MAX_EXPERTS = 1024  # LLAMA_MAX_EXPERTS
MAX_LENGTH = (1 << 31) - 1
MAX_EMBEDDING = 1 << 20
MAX_HEADS = 1 << 14

_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
_ONE_EXPERT_IS_NONE = ("hunyuan-dense", "hunyuan_vl")

# Layers of these may have no attention heads (llm_arch_is_recurrent and llm_arch_is_hybrid in llama-arch.cpp).
# fmt: off
_HEADLESS = frozenset((
    "arwkv7", "bailingmoe3", "clip", "deci", "deepseek4", "falcon-h1", "glm5-next", "granitehybrid", "jamba",
    "kimi-k3", "kimi-linear", "lfm2", "lfm2moe", "mamba", "mamba2", "minimax-01", "nemotron_h", "nemotron_h_moe",
    "plamo2", "qwen35", "qwen35moe", "qwen3next", "qwen4exp", "rwkv6", "rwkv6qwen2", "rwkv7", "wavtokenizer-dec",
))
# fmt: on
# What is divided by, or under a root, must be a number; below 0 ggml aborts.
_EPSILONS = ("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "attention.group_norm_epsilon")
_POSITIVE = ("rope.freq_base", "rope.freq_base_swa")


def hyperparameter_problems(header: GgufHeader, file: BinaryIO) -> Iterator[Problem]:
    """What is wrong with the numbers of a model that has tensors: a bare vocabulary, or an adapter, is not built."""
    if header.kind != "model" or (header.split and header.split.index):
        return
    if header.architecture is None:
        yield Problem("architecture", "key 'general.architecture' is missing")
        return
    if header.architecture == "clip" or not header.tensors:
        return
    found = _Numbers(header, file)
    yield from _length_problems(found)
    layers = found.value("block_count")
    if layers is None:
        yield Problem("block-count", f"key '{found.architecture}.block_count' is missing, or no number")
        return
    if not 1 <= layers <= MAX_LAYERS:
        yield Problem("block-count", f"the model has {layers} layers, not 1 to {MAX_LAYERS}")
        return
    if found.get("nextn_predict_layers") > layers:
        yield Problem("block-count", "more layers predict further tokens than there are")
    yield from _head_problems(found, layers)
    yield from _expert_problems(found, layers)
    yield from _float_problems(found)


class _Numbers:
    """The values of the keys that begin with the architecture."""

    def __init__(self, header: GgufHeader, file: BinaryIO) -> None:
        self._header = header
        self._file = file
        self.architecture = str(header.architecture)

    def value(self, key: str) -> int | None:
        return self._header.number(f"{self.architecture}.{key}")

    def get(self, key: str, default: int = 0) -> int:
        found = self.value(key)
        return default if found is None else found

    def raw(self, key: str) -> object:
        return self._header.metadata.get(f"{self.architecture}.{key}")

    def per_layer(self, key: str, layers: int) -> list[int] | None:
        """One number a layer, whether the file has one for all or an array; None when it has neither."""
        array = self._header.arrays.get(f"{self.architecture}.{key}")
        if array is None:
            value = self.value(key)
            return None if value is None else [value] * layers
        if array.kind not in (U32, I32) or array.length != layers:
            return []
        return [int(number) for number in numbers(self._file, array)]


def _length_problems(found: _Numbers) -> Iterator[Problem]:
    for key, most in (("context_length", MAX_LENGTH), ("embedding_length", MAX_EMBEDDING)):
        value = found.value(key)
        if value is None:
            yield Problem("length", f"key '{found.architecture}.{key}' is missing, or no number")
        elif not 1 <= value <= most:
            yield Problem("length", f"{key} is {value}, not 1 to {most}")
    for key in ("attention.key_length", "attention.value_length", "rope.dimension_count", "feed_forward_length"):
        if not 0 <= found.get(key) <= MAX_EMBEDDING:
            yield Problem("length", f"{key} is {found.value(key)}, more than {MAX_EMBEDDING}")


def _head_problems(found: _Numbers, layers: int) -> Iterator[Problem]:
    heads = found.per_layer("attention.head_count", layers)
    shared = found.per_layer("attention.head_count_kv", layers)
    for name, counts in (("head_count", heads), ("head_count_kv", shared)):
        if counts == []:
            yield Problem("head-count", f"{name} is an array of other than {layers} whole numbers")
        elif counts and not all(0 <= count <= MAX_HEADS for count in counts):
            yield Problem("head-count", f"{name} is not 0 to {MAX_HEADS} in every layer")
    headed = found.architecture not in _HEADLESS
    if headed and not (heads and heads[0] > 0):
        yield Problem("head-count", "the first layer has no attention heads: the embedding is divided among them")
    if headed and shared and shared[0] == 0:
        yield Problem("head-count", "the first layer has no attention heads of keys and values")
    if any(few > 0 and many % few for many, few in zip(heads or [], shared or [], strict=False)):
        yield Problem("head-count", "head_count is no multiple of head_count_kv")


def _expert_problems(found: _Numbers, layers: int) -> Iterator[Problem]:
    experts, groups = found.get("expert_count"), found.get("expert_group_count")
    per_layer = found.per_layer("expert_used_count", layers)
    if per_layer == []:
        yield Problem("expert-count", f"expert_used_count is an array of other than {layers} whole numbers")
        return
    used = max(per_layer or [0])
    if experts <= 1 and found.architecture in _ONE_EXPERT_IS_NONE:
        experts = used = 0
    if not 0 <= experts <= MAX_EXPERTS or used > experts or (experts and used <= 0):
        yield Problem("expert-count", f"{used} of {experts} experts are used; at most {MAX_EXPERTS} are allowed")
    if groups and (groups >= experts or (groups > 1 and not _grouped(experts, groups, found))):
        yield Problem("expert-count", f"{experts} experts cannot be parted into {groups} groups as the file says")


def _grouped(experts: int, groups: int, found: _Numbers) -> bool:
    return experts % groups == 0 and 0 < found.get("expert_group_used_count") < groups


def _float_problems(found: _Numbers) -> Iterator[Problem]:
    for key in (*_EPSILONS, *_POSITIVE, "rope.scaling.factor", "rope.scale_linear"):
        value = found.raw(key)
        if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
            yield Problem("number", f"{key} is {value}")
    for key in _POSITIVE:
        if found.raw(key) == 0:
            yield Problem("number", f"{key} is 0")
    scaling = found.raw("rope.scaling.type")
    if isinstance(scaling, str) and scaling not in _ROPE_SCALINGS:
        yield Problem("rope-scaling", f"rope.scaling.type is {scaling!r:.100}, which llama.cpp does not know")
