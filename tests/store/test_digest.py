"""The digest: one spelling, parsed and printed without loss."""

import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.store import Digest
from llstore.store.errors import InvalidRef

HEX = "0123456789abcdef" * 4

digests = st.binary(min_size=32, max_size=32).map(lambda raw: Digest(raw.hex()))


@given(digests)
def test_a_digest_parses_as_it_prints(digest: Digest) -> None:
    assert str(digest) == f"sha256:{digest.hex}"
    assert Digest.parse(str(digest)) == digest


@given(st.binary())
def test_a_digest_is_what_sha256sum_prints(data: bytes) -> None:
    assert Digest.of(data).hex == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        HEX,
        f"sha256{HEX}",
        f"sha512:{HEX}",
        f"SHA256:{HEX}",
        f"sha256:{HEX[:63]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"sha256:{HEX[:63]}g",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha256: {HEX[:63]}",
        f"sha256::{HEX[:63]}",
        "sha256:" + "\N{ARABIC-INDIC DIGIT ONE}" * 64,
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(InvalidRef, match="not a SHA-256 digest"):
        Digest.parse(text)


@given(st.text() | st.from_regex(r"sha256:[0-9a-fA-F]{62,66}", fullmatch=True))
def test_what_is_parsed_is_a_digest_or_refused(text: str) -> None:
    with suppress(InvalidRef):
        assert str(Digest.parse(text)) == text


@pytest.mark.parametrize("hexdigits", [HEX[:63], HEX + "0", HEX.upper(), f"{HEX}\n", ""])
def test_no_digest_is_made_of_anything_but_64_hex_digits(hexdigits: str) -> None:
    with pytest.raises(InvalidRef):
        Digest(hexdigits)


def test_a_refusal_does_not_repeat_a_long_text() -> None:
    with pytest.raises(InvalidRef) as refused:
        Digest.parse("x" * 100_000)
    assert len(str(refused.value)) < 200


@given(digests, digests)
def test_digests_are_values_ordered_as_their_hex(one: Digest, other: Digest) -> None:
    assert (one == other) == (one.hex == other.hex)
    assert (one < other) == (one.hex < other.hex)
    assert len({one, Digest(one.hex)}) == 1


def test_the_short_form_is_the_first_12_hex_digits() -> None:
    assert Digest(HEX).short == "0123456789ab"
