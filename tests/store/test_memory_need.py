"""The memory that a model is said to need is what llama.cpp takes."""

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from shards import write_shards

from llstore.store.gguf import GgufHeader, Scalar, Tensor, read_header
from llstore.store.memory_need import ContextShape, MemoryNeed

# As the runner asks for them: tokens a slot, slots, batch, types of keys and values, flash attention, one pool.
CONTEXTS = (
    ContextShape(200),
    ContextShape(512),
    ContextShape(8192),
    ContextShape(4096, batch=2048),
    ContextShape(200, flash_attention=True),
    ContextShape(32_768, flash_attention=True),
    ContextShape(1000, slots=16, flash_attention=True),
    ContextShape(1000, slots=16, flash_attention=True, unified=True),
    ContextShape(1000, slots=3),
    ContextShape(1000, slots=3, unified=True),
    ContextShape(256, slots=16, batch=4),
    ContextShape(1024, slots=4, key_type="bf16", value_type="bf16", flash_attention=True),
    ContextShape(2048, slots=4, key_type="f32", value_type="f32", flash_attention=True, unified=True),
)
QUANTIZED = tuple(
    ContextShape(2048, slots=4, key_type=kind, value_type=kind, flash_attention=True) for kind in ("q8_0", "q4_0")
)
# llama.cpp says what it allocates in its log only; a process of its own keeps that log from the runner's.
SAID = """
import json, sys
from llama_cpp import llama_cpp as ll
callback = ll.llama_log_callback(lambda level, text, _: print(text.decode(errors="replace"), end=""))
ll.llama_log_set(callback, None)
ll.llama_backend_init()
params = ll.llama_model_default_params()
params.use_extra_bufts = False
params.n_gpu_layers = 0
model = ll.llama_model_load_from_file(sys.argv[1].encode(), params)
kinds = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}
for wanted in json.loads(sys.argv[2]):
    params = ll.llama_context_default_params()
    params.n_ctx, params.n_seq_max = wanted["size"] * wanted["slots"], wanted["slots"]
    params.n_batch = params.n_ubatch = max(wanted["batch"], wanted["slots"])
    params.n_outputs_max = wanted["slots"]
    params.flash_attn_type, params.kv_unified = wanted["flash_attention"], wanted["unified"]
    params.type_k, params.type_v = kinds[wanted["key_type"]], kinds[wanted["value_type"]]
    params.swa_full = True
    print("=== context", flush=True)
    ll.llama_free(ll.llama_init_from_model(model, params))
"""
MIB = 1 << 20


def need(*paths: Path) -> MemoryNeed:
    headers = []
    for path in paths:
        with path.open("rb") as file:
            headers.append(read_header(file, path.stat().st_size))
    return MemoryNeed.of(headers)


def header(metadata: dict[str, Scalar], **tensors: tuple[int, int]) -> GgufHeader:
    named = [Tensor(name.replace("__", "."), shape, "F16", 0, 100) for name, shape in tensors.items()]
    return GgufHeader(3, {"general.architecture": "x", **metadata}, tuple(named), 0)


def width(found: MemoryNeed, *, flash_attention: bool = False) -> int:
    """How many f16 numbers a token takes in the cache of all layers."""
    shape = ContextShape(256, flash_attention=flash_attention)
    return found.kv(shape) // 256 // 2


def mebibytes(pattern: str, text: str) -> float:
    return sum(float(found) for found in re.findall(pattern + r" buffer size = +([\d.]+) MiB", text))


@pytest.mark.parametrize("name", ["tiny", "smollm2", "gemma"])
def test_the_memory_needed_is_what_llama_cpp_takes(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    # The heads of the tiny model are too narrow for a block of a quantized type.
    shapes = CONTEXTS if name == "tiny" else CONTEXTS + QUANTIZED
    command = [sys.executable, "-c", SAID, str(path), json.dumps([asdict(shape) for shape in shapes])]
    loaded, *contexts = subprocess.check_output(command, text=True).split("=== context\n")
    found = need(path)
    assert found.weights / MIB == pytest.approx(mebibytes("model", loaded), abs=0.02)
    for shape, said in zip(shapes, contexts, strict=True):
        assert found.kv(shape) / MIB == pytest.approx(mebibytes("KV", said), abs=0.01), shape
        assert found.logits(shape) / MIB == pytest.approx(mebibytes("output", said), abs=0.01), shape
        assert found.scratch(shape) / MIB == pytest.approx(mebibytes("compute", said), rel=0.03, abs=1.3), shape
        assert found.total(shape) == sum((found.weights, found.kv(shape), found.scratch(shape), found.logits(shape)))


def test_what_is_read_of_a_header_is_where_its_bytes_lie(gemma: Path, tiny: Path) -> None:
    tied, own = need(gemma), need(tiny)
    assert (tied.tied, own.tied) == (tied.embeddings, 0)
    assert len(tied.layers) == 18
    assert tied.embeddings == 178_257_920
    assert tied.output == 2560  # the norm alone
    assert tied.weights == tied.embeddings + sum(layer.weights for layer in tied.layers) + tied.output
    assert tied.head_sizes == (256, 256)


def test_flash_attention_needs_no_scores(smollm2: Path) -> None:
    found = need(smollm2)
    with_it, without = (found.scratch(ContextShape(8192, flash_attention=on)) for on in (True, False))
    assert without - with_it > found.heads * 512 * 8192 * 3


def test_a_smaller_type_and_fewer_slots_need_less(smollm2: Path) -> None:
    found = need(smollm2)
    sizes = [
        found.kv(ContextShape(4096, slots=slots, key_type=kind, value_type=kind, flash_attention=True))
        for slots, kind in ((16, "f32"), (16, "f16"), (16, "q8_0"), (16, "q4_0"), (1, "q4_0"))
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] == 16 * 4096 * found.layers[0].keys * 2 * 2 * 30


def test_shards_need_what_the_whole_model_does(tiny: Path, tmp_path: Path) -> None:
    assert need(*write_shards(tiny, 3, tmp_path)) == need(tiny)


def test_every_layer_counts_by_its_own_width_and_values_by_the_widest() -> None:
    tensors = {
        **{"blk__0__attn_k__weight": (64, 32), "blk__0__attn_v__weight": (64, 32)},
        **{"blk__1__attn_k__weight": (64, 16), "blk__1__attn_v__weight": (64, 16)},
    }
    found = MemoryNeed.of([header({"x.block_count": 2}, **tensors)])
    assert width(found) == 32 + 16 + 2 * 32
    assert width(found, flash_attention=True) == 32 + 16 + 32 + 16


def test_a_layer_without_attention_has_no_cache() -> None:
    found = MemoryNeed.of([header({"x.block_count": 2}, blk__0__ssm_in__weight=(64, 64))])
    assert found.kv(ContextShape(4096)) == 0
    assert found.weights == 100


def test_a_layer_that_uses_anothers_cache_has_none() -> None:
    tensors = {f"blk__{n}__attn_{kind}__weight": (64, 32) for n in range(3) for kind in "kv"}
    metadata: dict[str, Scalar] = {"x.block_count": 3, "x.attention.shared_kv_layers": 2}
    assert width(MemoryNeed.of([header(metadata, **tensors)])) == 64


@pytest.mark.parametrize(("kv_heads", "expected"), [({"x.attention.head_count_kv": 2}, 2 * 2 * 16), ({}, 2 * 4 * 16)])
def test_fused_attention_is_read_from_the_metadata(kv_heads: dict[str, Scalar], expected: int) -> None:
    metadata: dict[str, Scalar] = {"x.block_count": 1, "x.embedding_length": 64, "x.attention.head_count": 4}
    found = MemoryNeed.of([header({**metadata, **kv_heads}, blk__0__attn_qkv__weight=(64, 128))])
    assert width(found) == expected


def test_latent_attention_keeps_no_values() -> None:
    metadata: dict[str, Scalar] = {
        **{"x.block_count": 1, "x.attention.head_count": 16, "x.attention.head_count_kv": 1},
        **{"x.attention.key_length": 576, "x.attention.value_length": 512, "x.attention.key_length_mla": 192},
    }
    assert width(MemoryNeed.of([header(metadata, blk__0__attn_kv_a_mqa__weight=(64, 576))])) == 576


def test_of_experts_those_that_are_used_count() -> None:
    metadata: dict[str, Scalar] = {"x.block_count": 1, "x.embedding_length": 64, "x.expert_used_count": 2}
    tensors = {"blk__0__ffn_up_exps__weight": (64, 96), "blk__0__ffn_up_shexp__weight": (64, 32)}
    assert MemoryNeed.of([header(metadata, **tensors)]).feed_forward == 2 * 96


def test_a_header_that_says_nothing_needs_its_bytes() -> None:
    mask = 512 * 4096 * 4
    assert MemoryNeed.of([header({}, other=(4, 4))]).total(ContextShape(4096)) == 100 + mask


def test_a_layer_of_any_number_is_one_layer() -> None:
    assert len(MemoryNeed.of([header({"x.block_count": 2**40}, blk__99999999999__ffn_up__weight=(4, 4))]).layers) == 1
