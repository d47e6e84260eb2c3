"""The likeliest tokens of a row of logits."""

import numpy as np

Floats = np.ndarray[tuple[int], np.dtype[np.float32]]
Ints = np.ndarray[tuple[int], np.dtype[np.intp]]

_ROWS = 64


def likeliest(logits: Floats, k: int) -> Ints:
    """The ids of the `k` highest logits, highest first; of equal ones the lower id comes first. A NaN comes alone.

    To look at the whole row twice takes longer than all the rest: so it is folded first, and of the folded one only
    the columns are looked at that hold one of the k.
    """
    columns = logits.size // _ROWS
    if 2 * k > columns:
        return _of_few(logits, k)
    grid = logits[: columns * _ROWS].reshape(_ROWS, columns)
    highest = grid.max(axis=0)
    parted = np.partition(highest, (columns - k, columns - 1))
    if np.isnan(parted[-1]):
        return _only(logits)
    least = parted[columns - k]  # at least k logits reach it
    reaching = (highest >= least).nonzero()[0]
    rows, places = (grid[:, reaching] >= least).nonzero()
    ids: Ints = rows * columns + reaching[places]
    if grid.size < logits.size:
        ids = np.concatenate((ids, (logits[grid.size :] >= least).nonzero()[0] + grid.size))
    best: Ints = ids[ordered(logits[ids], k)]
    return best


def ordered(logits: Floats, k: int) -> Ints:
    """Where the `k` highest stand, highest first."""
    return (-logits).argsort(kind="stable")[:k]


def _of_few(logits: Floats, k: int) -> Ints:
    if np.isnan(logits.max()):
        return _only(logits)
    if k >= logits.size:
        return ordered(logits, k)
    place = logits.size - k
    ids: Ints = (logits >= np.partition(logits, place)[place]).nonzero()[0]
    best: Ints = ids[ordered(logits[ids], k)]
    return best


def _only(logits: Floats) -> Ints:
    return np.array([logits.argmax()])
