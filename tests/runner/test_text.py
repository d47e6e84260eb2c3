"""Text shown while it is made is the text there is in the end, whole characters, and no stop string."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from steps import lines

from llstore.runner import TextStream


def shown(stream: TextStream, pieces: list[bytes]) -> list[str]:
    return [*(stream.push(piece) for piece in pieces), stream.finish()]


def test_a_character_is_shown_when_it_is_whole() -> None:
    data = "é🎓".encode()
    assert shown(TextStream(), [bytes([b]) for b in data]) == ["", "é", "", "", "", "🎓", ""]


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert "".join(shown(TextStream(), [b"a\xff", b"b", b"\xf0\x9f"])) == "a\ufffdb\ufffd"


def test_what_may_be_a_stop_string_is_held_and_then_shown() -> None:
    assert shown(TextStream(("STOP",)), [b"a S", b"TO", b"RE"]) == ["a ", "", "STORE", ""]


def test_what_was_held_is_shown_at_the_end() -> None:
    assert shown(TextStream(("STOP",)), [b"a STO"]) == ["a ", "STO"]


def test_a_stop_string_ends_the_text() -> None:
    stream = TextStream(("END", "\n\n"))
    assert shown(stream, [b"one\n", b"\ntwo", b"END"]) == ["one", "", "", ""]
    assert stream.stopped


def test_the_earliest_stop_string_counts() -> None:
    assert "".join(shown(TextStream(("cd", "bc")), [b"abcd"])) == "a"


def ended(text: str, stop: tuple[str, ...]) -> str | None:
    """The text before the first stop string to be complete; None when there is none."""
    for end in range(1, len(text) + 1):
        complete = [len(one) for one in stop if text[:end].endswith(one)]
        if complete:
            return text[: end - max(complete)]
    return None


LETTERS = st.text(st.sampled_from("abé🎓"), max_size=30)
STOPS = st.lists(st.text(st.sampled_from("abé🎓"), min_size=1, max_size=5), max_size=4).map(tuple)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(LETTERS, STOPS, st.binary(max_size=3), st.lists(st.integers(0, 200), max_size=40))
@settings(max_examples=500)
def test_streamed_text_is_the_whole_text_up_to_the_stop_string(
    text: str, stop: tuple[str, ...], rest: bytes, cuts: list[int]
) -> None:
    data = text.encode() + rest
    whole = data.decode(errors="replace")
    before = ended(whole, stop)
    stream = TextStream(stop)
    assert "".join(shown(stream, pieces(data, cuts))) == (whole if before is None else before)
    assert stream.stopped == (before is not None)


@given(LETTERS, STOPS, st.lists(st.integers(0, 200), max_size=40))
def test_what_is_shown_at_any_time_stays_and_only_what_may_stop_is_held(
    text: str, stop: tuple[str, ...], cuts: list[int]
) -> None:
    stream = TextStream(stop)
    seen, read = "", b""
    for piece in pieces(text.encode(), cuts):
        seen += stream.push(piece)
        read += piece
        if stream.stopped:
            break
        decoded = read.decode(errors="ignore")
        held = decoded.removeprefix(seen)
        assert seen + held == decoded
        assert not held or any(one.startswith(held) and one != held for one in stop)
    assert not any(one in seen for one in stop)


@given(st.binary(max_size=40), st.lists(st.integers(0, 200), max_size=40))
def test_any_bytes_become_the_same_text_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    assert "".join(shown(TextStream(), pieces(data, cuts))) == data.decode(errors="replace")


def test_long_stop_strings_cost_no_more_than_short_ones() -> None:
    def pushed(length: int) -> None:
        stream = TextStream(tuple("a" * length + character for character in "bcdef"))
        for _ in range(2000):
            stream.push(b"a")
        assert stream.push(b"b") == ""
        assert stream.stopped

    # A comparison with each beginning would take hundreds of times as many.
    assert lines(lambda: pushed(1000)) < 1.5 * lines(lambda: pushed(10))
