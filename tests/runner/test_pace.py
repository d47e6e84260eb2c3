"""Pace: what a step will take, from what steps took."""

from llstore.runner.engine.pace import Pace


def test_a_chunk_is_as_long_as_its_seconds_allow() -> None:
    pace = Pace()
    for size in (1, 4, 16, 64):
        pace.prefilled(size, 0.002 * size + 0.004)
    assert pace.chunk(0.1) in range(40, 49)
    assert pace.chunk(0.02) in range(5, 9)
    assert pace.chunk(0.0) == 1


def test_a_chunk_that_took_too_long_is_followed_by_a_shorter_one() -> None:
    pace = Pace()
    first = pace.chunk(0.05)
    pace.prefilled(first, 0.4)
    assert pace.chunk(0.05) * 0.4 / first <= 0.05


def test_one_slow_moment_does_not_shorten_chunks_for_good() -> None:
    pace = Pace()
    for size in (1, 4, 16, 64):
        pace.prefilled(size, 0.0025 * size)
    usual = pace.chunk(0.1)
    for _ in range(10):
        pace.prefilled(32, 0.8)
        pace.prefilled(16, 0.4)
    shortened = pace.chunk(0.1)
    assert shortened > usual / 3
    for _ in range(10):
        chunk = pace.chunk(0.1)
        pace.prefilled(chunk, 0.0025 * chunk)
    assert pace.chunk(0.1) == usual


def test_steps_are_judged_by_the_nearest_number_of_rows() -> None:
    pace = Pace()
    assert pace.decode_seconds(4) == 0.0
    pace.decoded(4, 0.02)
    assert pace.decode_seconds(2) == 0.01
    assert pace.decode_seconds(5) == 0.02


def test_an_idle_row_is_added_where_a_full_block_is_faster() -> None:
    pace = Pace()
    assert pace.best_rows(15, most=16) == 15  # nothing is known
    pace.decoded(15, 0.080)
    assert pace.best_rows(15, most=16) == 16  # to be tried
    pace.decoded(16, 0.057)
    assert pace.best_rows(15, most=16) == 16
    assert pace.best_rows(15, most=15) == 15  # there is no row for it
    for _ in range(20):
        pace.decoded(16, 0.090)
    assert pace.best_rows(15, most=16) == 15
    assert pace.best_rows(1, most=16) == 1
