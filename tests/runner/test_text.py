"""Text shown while it is made is the text there is in the end, whole characters, and no stop string."""

import random

import pytest

from llstore.runner import TextStream


def shown(stream: TextStream, pieces: list[bytes]) -> list[str]:
    return [*(stream.push(piece) for piece in pieces), stream.finish()]


def cut(data: bytes, rng: random.Random) -> list[bytes]:
    pieces = []
    while data:
        n = rng.randint(0, 4)
        pieces.append(data[:n])
        data = data[n:]
    return pieces


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


@pytest.mark.parametrize("seed", range(200))
def test_streamed_text_is_the_whole_text_up_to_the_stop_string(seed: int) -> None:
    rng = random.Random(seed)
    data = "".join(rng.choices("abé🎓", k=30)).encode()
    if seed % 3 == 0:
        data += b"\xf0\x9f"
    stop = tuple({"".join(rng.choices("abé🎓", k=rng.randint(1, 4))) for _ in range(rng.randint(0, 3))})
    text = data.decode(errors="replace")
    ends = [text.index(s) for s in stop if s in text]
    stream = TextStream(stop)
    assert "".join(shown(stream, cut(data, rng))) == text[: min(ends, default=len(text))]
    assert stream.stopped == bool(ends)
