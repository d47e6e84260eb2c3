"""The manifest: one spelling of what follows from a model's bytes."""

import io
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.store import Digest, Manifest, Role
from llstore.store.errors import Damaged, FormatTooNew
from llstore.store.fingerprint import fingerprint
from llstore.store.gguf import GgufHeader, read_header
from llstore.store.manifest import FileEntry, ModelFacts, canonical, role_of, table_digest

ONE, TWO, THREE = (Digest(letter * 64) for letter in "123")

GOLDEN = (
    '{"files":[{"blocks":"sha256:' + "2" * 64 + '","digest":"sha256:' + "1" * 64 + '","role":"weights","size":7}],'
    '"format":1,"gguf":{"architecture":"läma","context_length":8192,"embedding_length":64,"license":"mit",'
    '"parameters":12,"quantization":"Q4_1","template":"sha256:' + "3" * 64 + '","tokenizer":"gpt2"}}'
)
MANIFEST = Manifest(
    (FileEntry(Role.WEIGHTS, ONE, 7, TWO),),
    ModelFacts(
        architecture="läma",
        parameters=12,
        quantization="Q4_1",
        context_length=8192,
        embedding_length=64,
        tokenizer="gpt2",
        license="mit",
        template=THREE,
    ),
)

digests = st.binary(min_size=32, max_size=32).map(lambda raw: Digest(raw.hex()))
entries = st.builds(FileEntry, st.sampled_from(Role), digests, st.integers(0, 2**50), digests)
words = st.none() | st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.none() | st.integers(0, 2**50)
some = st.none() | digests
facts = st.builds(ModelFacts, words, numbers, words, numbers, numbers, words, words, words, some, some, some)
manifests = st.builds(Manifest, st.lists(entries, min_size=1, max_size=4).map(tuple), facts)


def test_the_stored_form_is_the_one_that_is_written_down() -> None:
    assert MANIFEST.encode().decode() == GOLDEN


def test_what_is_not_known_is_left_out() -> None:
    bare = Manifest((FileEntry(Role.OTHER, ONE, 7, TWO),), ModelFacts())
    assert json.loads(bare.encode())["gguf"] == {}


def test_a_manifest_of_an_earlier_llstore_that_wrote_null_is_read() -> None:
    document = json.loads(GOLDEN)
    document["gguf"] = {"architecture": "läma", "context_length": None, "parameters": 12, "template": None}
    earlier = Manifest.from_document(document)
    assert earlier.facts == ModelFacts(architecture="läma", parameters=12)


def test_a_model_of_many_files_keeps_its_name_when_a_later_llstore_told_more_of_it() -> None:
    document = json.loads(GOLDEN)
    document["files"].append(document["files"][0] | {"digest": str(TWO), "role": "projector"})
    document["gguf"] |= {"experts": 8, "more": {"z": [1], "a": None}}
    data = canonical(document)
    assert Manifest.decode(data).model == Digest.of(data)


@given(manifests)
def test_a_manifest_decodes_as_it_was_encoded(manifest: Manifest) -> None:
    assert Manifest.decode(manifest.encode()) == manifest
    assert Manifest.from_document(manifest.document()) == manifest


@given(manifests, st.randoms())
def test_one_model_has_one_manifest_however_it_was_spelled(manifest: Manifest, random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = random.sample(sorted(value), len(value))
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    spelled = json.dumps(shuffled(manifest.document()), indent=2).encode()
    assert Manifest.decode(spelled).encode() == manifest.encode()


def test_canonical_json_has_sorted_keys_no_spaces_and_utf_8() -> None:
    assert canonical({"b": [1, {"d": None, "c": "é"}], "a": True}) == '{"a":true,"b":[1,{"c":"é","d":null}]}'.encode()


def test_a_single_file_model_is_named_by_its_file() -> None:
    assert MANIFEST.model == ONE
    assert MANIFEST.digest == Digest.of(GOLDEN.encode())


def test_a_model_of_many_files_is_named_by_its_manifest() -> None:
    projector = FileEntry(Role.PROJECTOR, TWO, 5, THREE)
    many = replace(MANIFEST, files=(projector, *MANIFEST.files))
    assert many.model == many.digest == Digest.of(many.encode())
    assert many.size == 12
    assert many.main.digest == ONE


def test_a_model_without_weights_is_stood_for_by_its_first_file() -> None:
    only = FileEntry(Role.LICENSE, TWO, 5, THREE)
    assert Manifest((only,), ModelFacts()).main == only


def test_the_manifest_of_a_file_follows_from_its_bytes(tiny: Path) -> None:
    data = tiny.read_bytes()
    found = fingerprint([data])
    header = read_header(io.BytesIO(data), len(data))
    manifest = Manifest.of(
        [FileEntry(Role.WEIGHTS, found.digest, found.size, Digest.of(found.blocks.encode()))], [header]
    )
    assert manifest.model == Digest.of(data)
    assert manifest.main == FileEntry(Role.WEIGHTS, Digest.of(data), len(data), Digest.of(found.blocks.encode()))
    template = Digest.of(str(header.metadata["tokenizer.chat_template"]).encode())
    assert manifest.facts == ModelFacts(
        architecture="llama",
        parameters=132_032,
        quantization="F16",
        context_length=512,
        embedding_length=64,
        tokenizer="gpt2",
        template=template,
        vocabulary=header.tokenizer_digest,
        tensors=table_digest(header.tensors),
    )


@pytest.mark.parametrize(
    ("kind", "role"),
    [
        ("model", Role.WEIGHTS),
        ("adapter", Role.ADAPTER),
        ("mmproj", Role.PROJECTOR),
        ("new", Role.WEIGHTS),
        (1, Role.WEIGHTS),
    ],
)
def test_a_gguf_claims_its_role(kind: Any, role: Role) -> None:
    assert role_of(GgufHeader(3, {"general.type": kind}, (), 0)) is role


def document(**changes: Any) -> dict[str, Any]:
    return json.loads(GOLDEN) | changes


def changed_file(**changes: Any) -> dict[str, Any]:
    return document(files=[json.loads(GOLDEN)["files"][0] | changes])


@pytest.mark.parametrize(
    "later",
    [
        document(format=2),
        document(format=2, files="of a shape nobody knows yet"),
        changed_file(parts=[]),
        changed_file(parts=[{"digest": str(ONE), "size": 7}]),
    ],
)
def test_a_newer_manifest_is_refused_as_newer(later: dict[str, Any]) -> None:
    with pytest.raises(FormatTooNew) as refused:
        Manifest.decode(json.dumps(later).encode())
    assert "upgrade" in refused.value.hint


def test_a_field_that_is_not_known_yet_is_passed_over() -> None:
    assert Manifest.from_document(document(new=1)) == MANIFEST


@pytest.mark.parametrize(
    "broken",
    [
        document(files=[]),
        document(files={}),
        document(files=None),
        document(files=["x"]),
        document(files=[None]),
        document(gguf=None),
        document(gguf=[]),
        document(format="1"),
        document(format=None),
        document(gguf={"template": "not a digest"}),
        document(gguf={"template": 7}),
        changed_file(role="nonsense"),
        changed_file(role=[]),
        changed_file(role=None),
        changed_file(digest="1" * 64),
        changed_file(digest=None),
        changed_file(blocks="sha256:12"),
        changed_file(size="many"),
        changed_file(size=None),
        changed_file(size=float("inf")),
        *({key: value for key, value in document().items() if key != absent} for absent in ("files", "format", "gguf")),
    ],
    ids=lambda broken: json.dumps(broken)[:60],
)
def test_a_broken_manifest_is_damaged(broken: dict[str, Any]) -> None:
    with pytest.raises(Damaged):
        Manifest.decode(json.dumps(broken).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"[]", b"1", b'"text"', b"\xff\xfe\x00", GOLDEN.encode()[:-1], b"[" * 100_000],
    ids=lambda data: repr(data[:10]),
)
def test_what_is_no_manifest_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        Manifest.decode(data)


@pytest.mark.parametrize("absent", ["role", "digest", "size", "blocks"])
def test_a_file_without_a_field_is_damaged(absent: str) -> None:
    file = json.loads(GOLDEN)["files"][0]
    del file[absent]
    with pytest.raises(Damaged):
        Manifest.from_document(document(files=[file]))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.sampled_from(["role", "digest", "size", "blocks", "parts"]), values)
def test_a_file_with_a_junk_field_is_read_damaged_or_newer(field: str, value: Any) -> None:
    with suppress(Damaged, FormatTooNew):
        Manifest.from_document(changed_file(**{field: value}))
