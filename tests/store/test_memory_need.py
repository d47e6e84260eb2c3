"""The memory that a model is said to need is what llama.cpp takes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from shards import write_shards

from llstore.store.gguf import GgufHeader, Scalar, Tensor, read_header
from llstore.store.memory_need import MemoryNeed

CONTEXTS = (200, 512, 8192)
# llama.cpp says what it allocates in its log only; a process of its own keeps that log from the runner's.
SAID = """
import sys
from llama_cpp import llama_cpp as ll
callback = ll.llama_log_callback(lambda level, text, _: print(text.decode(errors="replace"), end=""))
ll.llama_log_set(callback, None)
ll.llama_backend_init()
params = ll.llama_model_default_params()
params.use_extra_bufts = False
params.n_gpu_layers = 0
model = ll.llama_model_load_from_file(sys.argv[1].encode(), params)
for size in map(int, sys.argv[2:]):
    params = ll.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.flash_attn_type = size, 512, 512, 0
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


def mebibytes(pattern: str, text: str) -> float:
    return sum(float(found) for found in re.findall(pattern + r" buffer size = +([\d.]+) MiB", text))


@pytest.mark.parametrize("name", ["tiny", "smollm2", "gemma"])
def test_the_memory_needed_is_what_llama_cpp_takes(name: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(name)
    command = [sys.executable, "-c", SAID, str(path), *map(str, CONTEXTS)]
    loaded, *contexts = subprocess.check_output(command, text=True).split("=== context\n")
    found = need(path)
    assert found.weights / MIB == pytest.approx(mebibytes("model", loaded), abs=0.02)
    for size, said in zip(CONTEXTS, contexts, strict=True):
        assert found.kv(size) / MIB == pytest.approx(mebibytes("KV", said), abs=0.01)
        # A few activations come on top, the more visible the smaller the model.
        assert found.scratch(size) / MIB == pytest.approx(mebibytes("compute", said), rel=0.05, abs=1.5)
        assert found.total(size) == found.weights + found.kv(size) + found.scratch(size)


def test_shards_need_what_the_whole_model_does(tiny: Path, tmp_path: Path) -> None:
    assert need(*write_shards(tiny, 3, tmp_path)) == need(tiny)


def test_every_layer_counts_by_its_own_width_and_values_by_the_widest() -> None:
    tensors = {
        **{"blk__0__attn_k__weight": (64, 32), "blk__0__attn_v__weight": (64, 32)},
        **{"blk__1__attn_k__weight": (64, 16), "blk__1__attn_v__weight": (64, 16)},
    }
    assert MemoryNeed.of([header({"x.block_count": 2}, **tensors)]).kv_width == 32 + 16 + 2 * 32


def test_a_layer_without_attention_has_no_cache() -> None:
    found = MemoryNeed.of([header({"x.block_count": 2}, blk__0__ssm_in__weight=(64, 64))])
    assert (found.kv_width, found.kv(4096)) == (0, 0)


def test_a_layer_that_uses_anothers_cache_has_none() -> None:
    tensors = {f"blk__{n}__attn_{kind}__weight": (64, 32) for n in range(3) for kind in "kv"}
    metadata: dict[str, Scalar] = {"x.block_count": 3, "x.attention.shared_kv_layers": 2}
    assert MemoryNeed.of([header(metadata, **tensors)]).kv_width == 64


@pytest.mark.parametrize(("kv_heads", "width"), [({"x.attention.head_count_kv": 2}, 2 * 2 * 16), ({}, 2 * 4 * 16)])
def test_fused_attention_is_read_from_the_metadata(kv_heads: dict[str, Scalar], width: int) -> None:
    metadata: dict[str, Scalar] = {"x.block_count": 1, "x.embedding_length": 64, "x.attention.head_count": 4}
    found = MemoryNeed.of([header({**metadata, **kv_heads}, blk__0__attn_qkv__weight=(64, 128))])
    assert found.kv_width == width


def test_latent_attention_keeps_no_values() -> None:
    metadata: dict[str, Scalar] = {
        **{"x.block_count": 1, "x.attention.head_count": 16, "x.attention.head_count_kv": 1},
        **{"x.attention.key_length": 576, "x.attention.value_length": 512, "x.attention.key_length_mla": 192},
    }
    assert MemoryNeed.of([header(metadata, blk__0__attn_kv_a_mqa__weight=(64, 576))]).kv_width == 576


def test_a_header_that_says_nothing_needs_its_bytes() -> None:
    assert MemoryNeed.of([header({}, other=(4, 4))]).total(4096) == 100 + 512 * 4096 * 4
