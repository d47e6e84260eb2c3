"""How long steps take here, as measured: what a chunk of prompt may cost is a matter of time, not of tokens."""

from collections import deque

_LATEST = 4  # measurements of a chunk
_NEWEST = 0.25  # the weight of the newest measurement
_FIRST_CHUNK = 16  # tokens, while nothing was measured
_BLOCK = 4  # rows
_SIZES = tuple(2**n for n in range(17))


class Pace:
    """Running means of the seconds that decode steps and prefill chunks took, by their size."""

    def __init__(self) -> None:
        self._decode: dict[int, float] = {}
        # The latest seconds a token, by the power of two that the chunk reached.
        self._prefill: dict[int, deque[float]] = {}
        self.token_seconds = 0.0  # of late, over all kinds of steps

    def decoded(self, rows: int, seconds: float) -> None:
        """A step of so many rows took so long."""
        self._decode[rows] = _mean(self._decode.get(rows), seconds)
        self.token_seconds = _mean(self.token_seconds or None, seconds / rows)

    def prefilled(self, tokens: int, seconds: float) -> None:
        """A chunk of so many tokens took so long."""
        self._prefill.setdefault(_size(tokens), deque(maxlen=_LATEST)).append(seconds / tokens)
        self.token_seconds = _mean(self.token_seconds or None, seconds / tokens)

    def best_rows(self, rows: int, *, most: int) -> int:
        """How many rows to compute for `rows` that are needed: some kernels work in fours, and a row more costs less.

        What was not tried yet is tried, where a block of four would be full.
        """
        block = min(-(-rows // _BLOCK) * _BLOCK, most)
        if rows == 1 or block == rows or rows not in self._decode:
            return rows
        return block if self._decode.get(block, 0.0) < self._decode[rows] else rows

    def decode_seconds(self, rows: int) -> float:
        """What a step of so many rows will take; 0 while nothing is known."""
        if not self._decode or rows == 0:
            return 0.0
        nearest = min(self._decode, key=lambda known: abs(known - rows))
        return self._decode[nearest] * min(1.0, rows / nearest)

    def chunk(self, seconds: float) -> int:
        """How many tokens of prompt take no longer than that; at least 1."""
        if not self._prefill:
            return _FIRST_CHUNK
        fits = [size for size in _SIZES if size * self._token_seconds(size) <= seconds]
        largest = max(fits, default=1)
        # Between this size and the next, a token costs as much as at this one.
        return max(1, min(2 * largest - 1, int(seconds / self._token_seconds(largest))))

    def _token_seconds(self, size: int) -> float:
        # Of the latest, the best: one slow moment of the machine is not how fast a chunk is. Nor does a token cost more
        # in a larger chunk than in a smaller one, whatever was measured of the larger; so that one is tried again.
        known = [min(latest) for other, latest in self._prefill.items() if other <= size]
        return min(known) if known else min(self._prefill[min(self._prefill)])


def _size(tokens: int) -> int:
    return 1 << (tokens.bit_length() - 1)


def _mean(before: float | None, now: float) -> float:
    return now if before is None else before + _NEWEST * (now - before)
