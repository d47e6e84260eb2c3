"""What a person types to mean a model."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.store import Digest, Name, Prefix, parse_ref
from llstore.store.errors import InvalidRef

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("text", [HEX, HEX.upper(), f"sha256:{HEX}", f"sha256:{HEX.upper()}"])
def test_a_full_digest_is_itself_in_any_case(text: str) -> None:
    assert parse_ref(text) == Digest(HEX)


@pytest.mark.parametrize("length", range(8, 64))
def test_8_to_63_hex_digits_are_a_prefix(length: int) -> None:
    assert parse_ref(HEX[:length]) == Prefix(HEX[:length])


def test_a_prefix_is_kept_in_lower_case() -> None:
    assert parse_ref("ABCDEF01") == Prefix("abcdef01")
    assert str(parse_ref("ABCDEF01")) == "abcdef01"


@pytest.mark.parametrize("length", range(1, 8))
def test_a_prefix_shorter_than_8_is_refused(length: int) -> None:
    with pytest.raises(InvalidRef, match="at least 8"):
        parse_ref(HEX[:length])


@pytest.mark.parametrize("length", [1, 8, 63, 65, 128])
@pytest.mark.parametrize("before", ["sha256:", "team/model@sha256:", "team/model@"])
def test_a_pinned_digest_of_another_length_is_refused_and_counted(before: str, length: int) -> None:
    with pytest.raises(InvalidRef, match=rf"64 hex digits, this has {length}\b"):
        parse_ref(before + (HEX * 2)[:length])


def test_65_hex_digits_are_refused_and_counted() -> None:
    with pytest.raises(InvalidRef, match=r"this has 65\b"):
        parse_ref(HEX + "0")


@pytest.mark.parametrize(
    ("text", "path", "tag"),
    [
        ("team/model", "team/model", "latest"),
        ("team/model:q4", "team/model", "q4"),
        ("Team/SmolLM2-135M.Q4_1:V1.2-rc_3", "Team/SmolLM2-135M.Q4_1", "V1.2-rc_3"),
        ("a/b/c:_", "a/b/c", "_"),
        ("cafe/beef", "cafe/beef", "latest"),
        ("0/1:2", "0/1", "2"),
        ("team/model:" + "t" * 128, "team/model", "t" * 128),
    ],
)
def test_a_name_has_a_path_and_a_tag(text: str, path: str, tag: str) -> None:
    assert parse_ref(text) == Name(path, tag)
    assert str(parse_ref(text)) == f"{path}:{tag}"


parts = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
names = st.builds(Name, st.lists(parts, min_size=2, max_size=4).map("/".join), parts)


@given(names)
def test_a_name_parses_as_it_prints(name: Name) -> None:
    assert parse_ref(str(name)) == name
    assert Name.parse(name.path) == Name(name.path, "latest")


@pytest.mark.parametrize("text", ["model", "model:q4", "latest", "", "123", "not-hex!"])
def test_a_name_without_a_slash_is_refused_with_advice(text: str) -> None:
    with pytest.raises(InvalidRef) as refused:
        Name.parse(text)
    assert "'/'" in str(refused.value)
    assert "team/" in refused.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "/",
        "/model",
        "team/",
        "team//model",
        "team/model/",
        "../model",
        "team/..",
        "team/.hidden",
        "-team/model",
        "team/mo del",
        "team/model\n",
        "team/model:",
        "team/model:-x",
        "team/model:a/b",
        "team/model:a:b",
        "team/model:latest\n",
        "team/modèle",
        "team/model:" + "t" * 129,
        "team\\model/x",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRef):
        parse_ref(text)


@pytest.mark.parametrize("name", ["team/model", "team/model:q4"])
def test_a_digest_behind_a_name_rules(name: str) -> None:
    assert parse_ref(f"{name}@sha256:{HEX}") == Digest(HEX)
    assert parse_ref(f"{name}@sha256:{HEX.upper()}") == Digest(HEX)


@pytest.mark.parametrize(
    "text",
    [
        f"@sha256:{HEX}",
        f"model@sha256:{HEX}",
        f"team/mo del@sha256:{HEX}",
        f"team/model@{HEX[:63]}g",
        f"team/model@sha512:{HEX}",
        "team/model@",
        "team/model@latest",
        f"team/model@sha256:{HEX}@sha256:{HEX}",
    ],
)
def test_a_pinned_name_needs_a_name_and_a_digest(text: str) -> None:
    with pytest.raises(InvalidRef):
        parse_ref(text)


junk = st.text() | st.text("ab01F/:@.- \n\N{LATIN SMALL LETTER LONG S}sha256", max_size=90)


@given(junk)
def test_junk_is_a_ref_that_keeps_its_meaning_or_refused(text: str) -> None:
    try:
        ref = parse_ref(text)
    except InvalidRef:
        return
    assert parse_ref(str(ref)) == ref


@given(junk)
def test_junk_is_a_name_or_refused(text: str) -> None:
    with suppress(InvalidRef):
        assert Name.parse(text).path in text


def test_a_refusal_does_not_repeat_a_long_text() -> None:
    for text in ("x" * 100_000, "0" * 100_000, "team/" + "!" * 100_000, f"team/model@{'0' * 100_000}"):
        with pytest.raises(InvalidRef) as refused:
            parse_ref(text)
        assert len(str(refused.value)) < 250
