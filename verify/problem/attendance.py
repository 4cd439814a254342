"""Which keys the queries of a head see, by rules that take no memory for pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arrays import BoolArray

ALIGNMENTS = ("top-left", "bottom-right")

# Keys before and after its own position that a query sees at most; None where there is no limit.
Window = tuple[int | None, int | None]

# Pairs that are looked at at once.
_PAIRS = 1 << 22


# The kept keys [n_k] of a row, and the shift up to which a query sees them, or None.
Prefix = tuple[BoolArray, int | None]


@dataclass(frozen=True, eq=False)
class Prefixes:
    """What queries see where each sees the kept keys up to its own, or all of them.

    kept: [states, n_k].  shifts: [states], query i sees keys up to i + shift; None if all see all.  before: how many
    keys come before the first query, at most.  aligned: whether query and key i belong together in all of them.
    """

    kept: BoolArray
    shifts: NDArray[np.int64] | None
    before: int
    aligned: bool


def joined_prefixes(states: list[list[Prefix | None]], queries: int, keys: int) -> Prefixes | None:
    """Return what the heads of each state see, if those that share one see the same; else None."""
    kept, shifts = [], []
    for heads in states:
        first = heads[0]
        if first is None or any(h is None or h[1] != first[1] or (h[0] != first[0]).any() for h in heads):
            return None
        kept.append(first[0])
        shifts.append(first[1])
    together = np.array(kept, dtype=np.bool_).reshape((len(kept), keys))
    if None in shifts or not shifts:
        return Prefixes(together, None, keys, False)
    moved = np.array(shifts, dtype=np.int64)
    before = int(np.clip(moved, 0, keys).max(initial=0))
    return Prefixes(together, moved, before, queries == keys and not moved.any())


@dataclass(frozen=True, eq=False)
class Attendance:
    """What the queries of one head see: every key that no rule hides.

    positions: [n_q], where each query stands.  places: [n_k], where each key does; both count from 0, in their segment
    if there are segments.  causal: no key after the query.  window: no key further before or after it than this.
    existing: how many keys there are; those after them are padding.  segments: the numbers of queries [n_q] and keys
    [n_k]; a query sees its own segment alone.  mask: [n_q, n_k], False where a key is hidden.
    """

    positions: NDArray[np.int64]
    places: NDArray[np.int64]
    causal: bool
    window: Window
    existing: int
    segments: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    mask: BoolArray | None

    def rows(self, rows: Any = slice(None)) -> BoolArray:
        """Return what some queries see, [rows, n_k]."""
        positions = self.positions[rows, None]
        allowed = np.ones((len(positions), len(self.places)), dtype=np.bool_)
        allowed[:, self.existing :] = False
        before, after = self.window[0], self.reach
        if after is not None:
            allowed &= self.places <= positions + after
        if before is not None:
            allowed &= self.places >= positions - before
        if self.segments is not None:
            allowed &= self.segments[0][rows, None] == self.segments[1]
        if self.mask is not None:
            allowed &= self.mask[rows]
        return allowed

    @property
    def reach(self) -> int | None:
        """How far after its own position a query sees at most; None without a limit."""
        return 0 if self.causal else self.window[1]

    @property
    def everything(self) -> bool:
        """Whether no rule hides anything."""
        hidden = self.segments is not None or self.mask is not None or self.existing < len(self.places)
        return not hidden and not self.causal and self.window == (None, None)

    @cached_property
    def seeing(self) -> BoolArray:
        """Which queries see at least one key, [n_q]."""
        if self._interval is not None:
            first, last = self._interval
            return np.asarray(first <= last)
        return np.concatenate([self.rows(rows).any(axis=1) for rows in self.blocks()] or [np.zeros(0, np.bool_)])

    @cached_property
    def pairs(self) -> int:
        """How many pairs of a query and a key that it sees there are."""
        if self._interval is not None:
            first, last = self._interval
            return int(np.maximum(last - first + 1, 0).sum())
        return sum(int(self.rows(rows).sum()) for rows in self.blocks())

    @property
    def _interval(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """First and last key of every query, [n_q], the first behind the last where there is none; None with holes."""
        if self.mask is not None or self.segments is not None:
            return None
        first, last = np.zeros_like(self.positions), np.full_like(self.positions, self.existing - 1)
        if self.window[0] is not None:
            first = np.maximum(self.positions - self.window[0], first)
        if self.reach is not None:
            last = np.minimum(self.positions + self.reach, last)
        return first, last

    @cached_property
    def seen(self) -> BoolArray:
        """Which keys at least one query sees, [n_k]."""
        found = np.zeros(len(self.places), dtype=np.bool_)
        for rows in self.blocks():
            found |= self.rows(rows).any(axis=0)
        return found

    def blocks(self) -> list[slice]:
        """Return parts of the rows, as many at once as pairs may be held."""
        step = max(1, _PAIRS // max(1, len(self.places)))
        return [slice(first, first + step) for first in range(0, len(self.positions), step)]

    def prefixes(self) -> Prefix | None:
        """Return (kept, shift) if query i sees the kept keys up to i + shift, or all of them if that is None.

        Such a row needs no more than running sums over keys.  None where other rows see something else.
        """
        kept = np.arange(len(self.places)) < self.existing
        if self.segments is not None:
            numbers = np.concatenate(self.segments)
            if (numbers != numbers[:1]).any():
                return None
        if self.mask is not None:
            if (self.mask != self.mask[:1]).any():
                return None
            kept = kept & (self.mask[0] if len(self.mask) else True)
        before, first = self.window[0], int(self.positions[0]) if len(self.positions) else 0
        if (self.positions != first + np.arange(len(self.positions))).any():
            return None
        if before is not None and len(self.positions) and int(self.positions[-1]) > before:
            return None  # keys leave the window
        if self.reach is None:
            return kept, None
        return kept, first + self.reach
