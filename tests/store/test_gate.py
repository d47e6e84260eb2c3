"""The gate: a sound file passes, and each thing that can be wrong is found and named."""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from gguf_bytes import F32, U8, U32, array, pair, u32, words
from sound import TOKENS, WIDTH, Sound, float32, numbers, token_list

from llstore.store.errors import DiskError
from llstore.store.gate import CHECKER, Problem, TemplateState, Verdict, check, check_file
from llstore.store.gguf.types import ARRAY, STRING

I8, F16, Q8_1, I32 = 24, 1, 9, 26


def verdict(data: bytes | Sound) -> Verdict:
    data = data.encode() if isinstance(data, Sound) else data
    return check(io.BytesIO(data), len(data))


def codes(data: bytes | Sound) -> list[str]:
    return [problem.code for problem in verdict(data).problems]


def test_a_sound_file_passes() -> None:
    assert verdict(Sound()) == Verdict(())
    assert verdict(Sound()).safe


def test_a_bare_vocabulary_and_an_adapter_pass() -> None:
    vocabulary = Sound(tensors={})
    assert verdict(vocabulary.with_keys(llama__block_count=None)).safe
    adapter = {"type": words("general.type", "adapter"), "arch": words("general.architecture", "llama")}
    assert verdict(Sound(adapter, {"blk.0.attn_q.weight.lora_a": ((32, 4), 0)})).safe


def test_a_further_shard_needs_no_hyperparameters() -> None:
    u16 = {"split.no": 1, "split.count": 2}
    keys = {key: pair(key, 2, struct.pack("<H", value)) for key, value in u16.items()}
    keys["split.tensors.count"] = pair("split.tensors.count", 5, struct.pack("<i", 9))
    assert verdict(Sound(dict(keys))).safe
    assert codes(Sound(keys | {"split.count": u32("split.count", 2)})) == ["key-type"]


EMBD = "token_embd.weight"
L = "llama."
HEADER: dict[str, tuple[str, Sound]] = {
    "an empty key": ("key-name", Sound().with_keys(new=u32("", 1))),
    "a key with a zero byte": ("key-name", Sound().with_keys(new=u32("general.\0x", 1))),
    "a key that is not UTF-8": (
        "utf-8",
        Sound().with_keys(new=b"\x02\0\0\0\0\0\0\0k\xff" + struct.pack("<II", U32, 1)),
    ),
    "an architecture that is not UTF-8": (
        "utf-8",
        Sound().with_keys(general__architecture=words("general.architecture", b"ll\xff")),
    ),
    "a template with a zero byte": ("zero-byte", Sound().with_keys(t=words("tokenizer.chat_template", "a\0b"))),
    "a template that is a number": ("key-type", Sound().with_keys(t=u32("tokenizer.chat_template", 1))),
    "a block count that is a float": (
        "key-type",
        Sound().with_keys(llama__block_count=float32("llama.block_count", 1)),
    ),
    "arrays in an array": (
        "nested-array",
        Sound().with_keys(new=array("k", ARRAY, 1, struct.pack("<IQ", U8, 1) + b"a")),
    ),
    "a small alignment": ("alignment", Sound(alignment=4).with_keys(a=u32("general.alignment", 4))),
}
TENSORS: dict[str, tuple[str, bytes]] = {
    "a long name": ("tensor-name", Sound().with_tensor("x" * 64, (32,)).encode()),
    "no name": ("tensor-name", Sound().with_tensor("", (32,)).encode()),
    "a name with a zero byte": ("tensor-name", Sound().with_tensor("a\0b", (32,)).encode()),
    "a name twice": (
        "duplicate-tensor",
        Sound()
        .encode()
        .replace(b"blk.0.ffn_gate.weight", b"blk.0.attn_q.weight\0\0")
        .replace(struct.pack("<Q", 21) + b"blk.0.attn_q.weight\0\0", struct.pack("<Q", 19) + b"blk.0.attn_q.weight")
        + bytes(64),
    ),
    "a dimension of 0": ("tensor-shape", Sound().with_tensor("empty", (32, 0)).encode()),
    "an offset between two": ("alignment", Sound().encode({3: 8})),
    "an overlap": ("overlap", Sound().encode({2: -32})),
    "the same place": ("overlap", Sound().encode({2: -128})),
    "a gap": ("gap", Sound().encode({5: 32, 6: 32, 7: 32, 8: 32, 9: 32, 10: 32})),
    "whole numbers as weights": ("tensor-type", Sound().with_tensor(EMBD, (WIDTH, len(TOKENS)), kind=I32).encode()),
    "intermediate weights": ("tensor-type", Sound().with_tensor("blk.0.attn_q.weight", (32, 32), kind=Q8_1).encode()),
    "a norm of 16 bits": ("tensor-type", Sound().with_tensor("output_norm.weight", (32,), kind=F16).encode()),
}
HYPERPARAMETERS: dict[str, tuple[str, dict[str, bytes | None]]] = {
    "no architecture": ("architecture", {"general__architecture": None}),
    "no layers": ("block-count", {"llama__block_count": u32("llama.block_count", 0)}),
    "too many layers": ("block-count", {"llama__block_count": u32("llama.block_count", 513)}),
    "no block count": ("block-count", {"llama__block_count": None}),
    "no context": ("length", {"llama__context_length": u32("llama.context_length", 0)}),
    "a vast embedding": ("length", {"llama__embedding_length": u32("llama.embedding_length", 1 << 31)}),
    "no heads": ("head-count", {"llama__attention__head_count": u32("llama.attention.head_count", 0)}),
    "heads unsaid": ("head-count", {"llama__attention__head_count": None}),
    "no shared heads": ("head-count", {"llama__attention__head_count_kv": u32("llama.attention.head_count_kv", 0)}),
    "heads that cannot be shared": (
        "head-count",
        {"llama__attention__head_count_kv": u32("llama.attention.head_count_kv", 3)},
    ),
    "heads of too many layers": (
        "head-count",
        {"llama__attention__head_count": numbers("llama.attention.head_count", [2, 2])},
    ),
    "more experts used than there are": ("expert-count", {"new": u32("llama.expert_used_count", 2)}),
    "no expert used": ("expert-count", {"new": u32("llama.expert_count", 2)}),
    "groups of no experts": ("expert-count", {"new": u32("llama.expert_group_count", 2)}),
    "an epsilon below 0": ("number", {"llama__eps": float32("llama.attention.layer_norm_rms_epsilon", -1.0)}),
    "an epsilon that is no number": (
        "number",
        {"llama__eps": float32("llama.attention.layer_norm_rms_epsilon", float("nan"))},
    ),
    "a frequency of 0": ("number", {"new": float32("llama.rope.freq_base", 0.0)}),
    "a scaling unheard of": ("rope-scaling", {"new": words("llama.rope.scaling.type", "cubic")}),
}
MERGED = {"tokenizer__ggml__model": words("tokenizer.ggml.model", "gpt2")}
T = "tokenizer.ggml."
VOCABULARY: dict[str, tuple[str, dict[str, bytes | None]]] = {
    "no tokens": ("vocabulary", {"tokenizer__ggml__tokens": None}),
    "an empty list": ("vocabulary", {"tokenizer__ggml__tokens": token_list([])}),
    "tokens that are numbers": ("vocabulary", {"tokenizer__ggml__tokens": numbers(T + "tokens", [1, 2])}),
    "few scores": ("vocabulary", {"new": array(T + "scores", F32, 2, bytes(8))}),
    "scores of text": ("vocabulary", {"new": token_list(TOKENS, T + "scores")}),
    "few token types": ("vocabulary", {"new": numbers(T + "token_type", [1, 2])}),
    "a special token that is none": ("special-token", {"new": u32(T + "padding_token_id", len(TOKENS))}),
    "a special token below 0": (
        "special-token",
        {"new": pair(T + "unknown_token_id", 5, struct.pack("<i", -1))},
    ),
    "a token twice": ("duplicate-token", {"tokenizer__ggml__tokens": token_list([*TOKENS[:-1], b"<s>"])}),
    "tokens that differ behind a zero byte": (
        "duplicate-token",
        {"tokenizer__ggml__tokens": token_list([*TOKENS[:-1], b"<s>\0x"])},
    ),
    "a token that is not UTF-8": ("utf-8", {"tokenizer__ggml__tokens": token_list([*TOKENS[:-1], b"\xff\xfe"])}),
    "an endless token": ("vocabulary", {"tokenizer__ggml__tokens": token_list([*TOKENS[:-1], b"x" * 9000])}),
    "a token of more than a MiB": ("limit", {"tokenizer__ggml__tokens": token_list([b"x" * (1 << 21), *TOKENS[1:]])}),
    "a byte that is no token": ("byte-token", {"tokenizer__ggml__tokens": token_list([b"<0x00", *TOKENS[1:]])}),
    "another number of tokens than rows": (
        "embedding",
        {"tokenizer__ggml__tokens": token_list([*TOKENS, b"more"])},
    ),
    "no merges": ("merges", MERGED),
    "merges that are numbers": ("merges", {**MERGED, "new": numbers(T + "merges", [1])}),
    "a merge of one piece": ("merges", {**MERGED, "new": token_list([b"a b", b"ab"], T + "merges")}),
    "a merge of nothing": ("merges", {**MERGED, "new": token_list([b"a b", b" b"], T + "merges")}),
    "a charsmap too short": ("charsmap", {"new": array(T + "precompiled_charsmap", U8, 5, b"\xff\0\0\0\0")}),
}


@pytest.mark.parametrize("wrong", HEADER)
def test_a_key_that_is_wrong_is_named(wrong: str) -> None:
    code, file = HEADER[wrong]
    assert codes(file)[0] == code


@pytest.mark.parametrize("wrong", TENSORS)
def test_a_tensor_that_is_wrong_is_named(wrong: str) -> None:
    code, data = TENSORS[wrong]
    assert code in codes(data)


@pytest.mark.parametrize("wrong", HYPERPARAMETERS)
def test_a_hyperparameter_that_is_wrong_is_named(wrong: str) -> None:
    code, keys = HYPERPARAMETERS[wrong]
    assert set(codes(Sound().with_keys(**keys))) == {code}


@pytest.mark.parametrize("wrong", VOCABULARY)
def test_a_vocabulary_that_is_wrong_is_named(wrong: str) -> None:
    code, keys = VOCABULARY[wrong]
    assert set(codes(Sound().with_keys(**keys))) == {code}


def test_a_recurrent_model_needs_no_heads() -> None:
    keys = {key.replace("llama.", "mamba."): value.replace(b"llama.", b"mamba.") for key, value in Sound().keys.items()}
    keys["general.architecture"] = words("general.architecture", "mamba")
    keys["mamba.attention.head_count"] = u32("mamba.attention.head_count", 0)
    assert codes(Sound(keys)) == []


def test_tokens_that_are_bytes_are_refused_where_they_cannot_be_spelt() -> None:
    kinds = [6] + [1] * (len(TOKENS) - 1)
    file = Sound().with_keys(types=numbers(T + "token_type", kinds))
    assert codes(file) == []
    assert codes(file.with_keys(tokenizer__ggml__model=words("tokenizer.ggml.model", "bert"))) == ["token-type"]


@pytest.mark.parametrize(
    ("last", "wanted"),
    [([b"a", b"ab"], []), ([b"ab", b"x"], ["byte-token"]), ([b"\\x0g", b"x"], ["byte-token"]), ([b"\\n", b"x"], [])],
)
def test_a_byte_that_begins_a_token_of_rwkv_is_one(last: list[bytes], wanted: list[str]) -> None:
    tokens = [b"<", *(b"<%d>" % index for index in range(len(TOKENS) - 3)), *last]
    keys = {"tokenizer__ggml__tokens": token_list(tokens)}
    assert codes(Sound().with_keys(**keys, tokenizer__ggml__model=words("tokenizer.ggml.model", "rwkv"))) == wanted


@pytest.mark.parametrize("data", [b"", b"text", b"GGUF", Sound().encode()[:-500], b"GGUF" + bytes(20)])
def test_what_is_no_whole_gguf_does_not_pass(data: bytes) -> None:
    (problem,) = verdict(data).problems
    assert problem.code in ("empty", "magic", "header", "size", "version")


def test_a_file_full_of_faults_names_the_first_fifty() -> None:
    file = Sound()
    for index in range(200):
        file.with_tensor(f"empty.{index}", (32, 0))
    found = verdict(file).problems
    assert len(found) == 51
    assert found[-1].code == "more"


def test_templates_are_given_to_the_linter_and_said_to_be() -> None:
    seen: list[str] = []

    def lint(source: str) -> Sequence[str]:
        seen.append(source)
        return ["is odd"] if "odd" in source else []

    data = Sound().with_keys(
        a=words("tokenizer.chat_template", "plain"), b=words("tokenizer.chat_template.tool_use", "odd")
    )
    found = check(io.BytesIO(data.encode()), len(data.encode()), lint=lint)
    assert seen == ["plain", "odd"]
    assert found == Verdict((Problem("template", "is odd"),), TemplateState.LINTED)
    unlinted = verdict(data)
    assert (unlinted.safe, unlinted.complete, unlinted.template) == (True, False, TemplateState.NOT_LINTED)
    assert verdict(Sound()).complete


def test_a_verdict_is_the_same_after_it_was_kept() -> None:
    for one in (Verdict(()), Verdict((Problem("a", "ü"),), TemplateState.NOT_LINTED, CHECKER + 1)):
        assert Verdict.decode(one.encode()) == one


def test_a_file_that_cannot_be_read_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"absent[.]gguf"):
        check_file(tmp_path / "absent.gguf")


def test_text_of_another_type_is_no_text() -> None:
    assert codes(Sound().with_keys(t=array("tokenizer.chat_template", STRING, 0))) == ["key-type"]
