"""Where queries and keys stand: from it follow causal attention, windows and distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def standing(
    queries: int, keys: int, existing: int, segments: tuple[Numbers, Numbers] | None
) -> tuple[Numbers, Numbers, Numbers]:
    """Return where queries and keys stand, counted from 0, and how far queries move to end at the last key.

    Positions [n_q], places [n_k], offsets [n_q].  In segments everything is counted in the own one.  existing: keys
    that are no padding.  Queries whose segment has no key stay where they are.
    """
    if segments is None:
        return np.arange(queries), np.arange(keys), np.full(queries, existing - queries)
    of_q, of_k = segments
    there = of_k[:existing]
    numbers, own = np.unique(of_q, return_inverse=True)
    asking = np.bincount(own, minlength=len(numbers))
    lasting = np.searchsorted(np.sort(there), numbers, side="right") - np.searchsorted(np.sort(there), numbers)
    offsets = np.where(lasting > 0, lasting - asking, 0)[own]
    return ranks(of_q), ranks(of_k), offsets


def ranks(numbers: Numbers) -> Numbers:
    """Return for each of some numbers of at least 0 how many equal ones stand before it."""
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    lengths = np.diff(np.append(starts, len(numbers)))
    found = np.empty(len(numbers), dtype=np.int64)
    found[order] = np.arange(len(numbers)) - np.repeat(starts, lengths)
    return found
