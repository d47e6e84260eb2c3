"""What a GGUF header says about a model."""

import io
import struct
from pathlib import Path

import pytest
from gguf_bytes import array, pair, tensor, text, u32, whole, words

from llstore.store import Digest
from llstore.store.gguf import GgufHeader, Split, Tensor, parameters, quantization, read_header
from llstore.store.gguf.types import ARRAY, STRING

TINY_HEADER = 5984  # where the tiny model's data start


def read(data: bytes) -> GgufHeader:
    return read_header(io.BytesIO(data), len(data))


def read_file(path: Path) -> GgufHeader:
    with path.open("rb") as file:
        return read_header(file, path.stat().st_size)


def test_the_facts_of_the_tiny_model(tiny: Path) -> None:
    header = read_file(tiny)
    assert (header.version, header.kind, header.architecture) == (3, "model", "llama")
    assert (header.parameters, header.quantization, header.context_length) == (132_032, "F16", 512)
    assert header.template is not None
    assert "<|im_start|>" in header.template
    assert header.metadata["general.name"] == "tiny 0"
    assert header.metadata["tokenizer.ggml.add_bos_token"] is True
    assert "tokenizer.ggml.tokens" not in header.metadata
    assert header.metadata["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert (header.data_start, header.size) == (TINY_HEADER, tiny.stat().st_size)


def test_the_facts_of_smollm2(smollm2: Path) -> None:
    header = read_file(smollm2)
    assert (header.architecture, header.parameters, header.quantization) == ("llama", 134_515_008, "Q4_1")
    assert (header.context_length, header.kind) == (8192, "model")
    assert header.template is not None
    assert "<|im_start|>" in header.template
    assert header.size == smollm2.stat().st_size


def test_the_facts_of_gemma(gemma: Path) -> None:
    header = read_file(gemma)
    assert (header.architecture, header.quantization, header.context_length) == ("gemma3", "Q4_K_M", 32_768)
    assert header.template is None
    assert header.size == gemma.stat().st_size


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_are_read(version: int) -> None:
    header = read(whole([words("general.architecture", "llama")], version=version))
    assert (header.version, header.architecture) == (version, "llama")


def test_a_file_that_says_nothing_has_no_facts() -> None:
    header = read(whole([]))
    assert (header.architecture, header.quantization, header.context_length, header.template) == (None,) * 4
    assert (header.kind, header.parameters) == ("model", 0)


def test_facts_of_the_wrong_type_are_no_facts() -> None:
    keys = [u32("general.architecture", 1), words("general.file_type", "F16"), u32("tokenizer.chat_template", 1)]
    header = read(whole(keys))
    assert (header.architecture, header.quantization, header.template) == (None, None, None)


def test_the_facts_that_name_a_model_and_its_kin() -> None:
    keys = [words("general.name", "Tiny"), words("general.license", "apache-2.0")]
    keys += [words("general.architecture", "llama"), u32("llama.embedding_length", 64)]
    keys += [words("general.base_model.0.organization", "Acme"), words("general.base_model.0.name", "Big")]
    header = read(whole(keys))
    assert (header.name, header.license, header.embedding_length) == ("Tiny", "apache-2.0", 64)
    assert (header.base_model, header.split, header.tokenizer) == ("Acme/Big", None, None)
    keys += [words("general.base_model.0.repo_url", "https://example.org/acme/big")]
    keys += [u32("split.no", 1), u32("split.count", 3), u32("split.tensors.count", 12)]
    header = read(whole(keys))
    assert (header.base_model, header.split) == ("https://example.org/acme/big", Split(1, 3, 12))


def tokenizer(**other: bytes) -> list[bytes]:
    keys = {
        "model": words("tokenizer.ggml.model", "gpt2"),
        "tokens": array("tokenizer.ggml.tokens", STRING, 2, text("a") + text("b")),
        "bos": u32("tokenizer.ggml.bos_token_id", 1),
        "template": words("tokenizer.chat_template", "{{ a }}"),
    }
    return list({**keys, **other}.values())


def test_a_tokenizer_has_one_digest_whatever_the_order_and_the_template() -> None:
    digest = read(whole(tokenizer())).tokenizer_digest
    assert digest is not None
    assert read(whole([u32("first", 1), *reversed(tokenizer())])).tokenizer_digest == digest
    assert read(whole(tokenizer(template=words("tokenizer.chat_template.tool", "x")))).tokenizer_digest == digest
    assert read(whole(tokenizer(), version=2)).tokenizer == "gpt2"
    assert read(whole([words("tokenizer.chat_template", "x")])).tokenizer_digest is None


@pytest.mark.parametrize(
    "other",
    [
        {"model": words("tokenizer.ggml.model", "llama")},
        {"tokens": array("tokenizer.ggml.tokens", STRING, 2, text("a") + text("c"))},
        {"tokens": array("tokenizer.ggml.tokens", STRING, 3, text("a") + text("b") + text(""))},
        {"bos": u32("tokenizer.ggml.eos_token_id", 1)},
        {"bos": pair("tokenizer.ggml.bos_token_id", 5, struct.pack("<i", 1))},
        {"new": u32("tokenizer.ggml.pre", 1)},
    ],
)
def test_a_tokenizer_that_differs_has_another_digest(other: dict[str, bytes]) -> None:
    assert read(whole(tokenizer(**other))).tokenizer_digest != read(whole(tokenizer())).tokenizer_digest


def test_an_array_is_known_by_its_bytes() -> None:
    body = text("a") + text("b")
    header = read(whole([u32("first", 1), array("k", STRING, 2, body), array("same", STRING, 2, body)]))
    found = header.arrays["k"]
    assert (found.kind, found.length, found.digest, found.size) == (STRING, 2, Digest.of(body), len(body))
    assert found == header.arrays["same"]
    nested = struct.pack("<IQ", STRING, 2) + body
    assert read(whole([array("n", ARRAY, 1, nested)])).arrays["n"].digest == Digest.of(nested)


def test_a_mixture_is_named_when_its_tensors_agree() -> None:
    embedding = Tensor("token_embd.weight", (256, 1000), "Q6_K", 0, 0)
    inner = [
        Tensor("blk.0.attn_q.weight", (256, 256), "Q4_K", 0, 0),
        Tensor("blk.0.attn_v.weight", (256, 64), "Q6_K", 0, 0),
    ]
    assert quantization([embedding, *inner], 15) == "Q4_K_M"
    assert quantization([embedding, *inner], 14) == "Q4_K_S"
    assert quantization([embedding, *inner], 17) == "Q6_K"  # it claims to be Q5_K_M
    assert quantization([embedding, *inner], None) == "Q6_K"
    assert quantization(inner, 9_999) == "Q4_K"
    assert quantization([], 15) is None
    assert parameters([embedding, *inner]) == 256 * 1320


def test_a_stand_in_counts_only_where_rows_do_not_fill_blocks() -> None:
    assert quantization([Tensor("blk.0.ffn_up.weight", (640, 640), "Q5_0", 0, 0)], 15) == "Q4_K_M"
    assert quantization([Tensor("blk.0.ffn_up.weight", (512, 640), "Q5_0", 0, 0)], 15) == "Q5_0"


def test_an_unnamed_mixture_is_called_by_the_type_of_most_weights() -> None:
    tensors = [tensor("a", (32, 4), kind=2), tensor("b", (32,), kind=0, offset=96)]
    assert read(whole([], tensors, data=96 + 128)).quantization == "Q4_0"
    assert read(whole([u32("general.file_type", 9_999)], tensors, data=96 + 128)).quantization == "Q4_0"
