"""Counts of sizes in narrow bins: quantiles of numbers that are never held together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arrays import Float64Array

# A quantile is at most this part of itself above the sample quantile.
WIDTH = 2.0**-10

# Bits of a float64 that numbers of one bin may differ in; zero has a bin of its own.
_SHIFT = 42
_ZERO = -1
_INFINITE = int(np.float64(np.inf).view(np.int64)) >> _SHIFT


@dataclass(frozen=True, eq=False)
class Counts:
    """How many of some numbers of at least zero, infinite ones among them, lie in each of many bins.

    A bin holds the float64 numbers with the same first 10 bits behind the binary point; zero has its own.  What is
    counted in parts, in any order, and joined is the same as what is counted at once.

    places: of bins that are not empty, ascending.  numbers: how many are in each.  largest: the largest number.
    """

    places: NDArray[np.int64]
    numbers: NDArray[np.int64]
    largest: float

    @classmethod
    def of(cls, sizes: Float64Array) -> Counts:
        """Count numbers, none of which is NaN or below zero."""
        flat = np.ascontiguousarray(sizes, dtype=np.float64).ravel()
        places, numbers = np.unique(np.where(flat == 0.0, _ZERO, flat.view(np.int64) >> _SHIFT), return_counts=True)
        return cls(places, numbers.astype(np.int64), float(flat.max(initial=0.0)))

    @classmethod
    def joined(cls, parts: Iterable[Counts]) -> Counts:
        """Return the counts of all parts together."""
        own = list(parts)
        if len(own) == 1:
            return own[0]
        places, inverse = np.unique(np.concatenate([part.places for part in own]), return_inverse=True)
        numbers = np.zeros(len(places), dtype=np.int64)
        np.add.at(numbers, inverse, np.concatenate([part.numbers for part in own]))
        return cls(places, numbers, max(part.largest for part in own))

    @property
    def total(self) -> int:
        """How many numbers were counted."""
        return int(self.numbers.sum())

    def quantile(self, percent: int) -> float:
        """Return what that percentage of the numbers does not exceed, from 1 to 99; at least one must be counted.

        The sample quantile x, by the inverted distribution function, is at most the result, which is at most
        (1 + WIDTH) x and never above the largest number; the subnormal range apart, where bins are as wide as there.
        """
        return self.ranked(-(-percent * self.total // 100))

    def ranked(self, rank: int) -> float:
        """Return the number of a rank, the smallest having rank 1, or a number of its bin that is no smaller."""
        place = int(self.places[np.searchsorted(np.cumsum(self.numbers), rank)])
        if place == _ZERO:
            return 0.0
        if place >= _INFINITE:
            return float(np.inf)
        edge = np.int64(((place + 1) << _SHIFT) - 1).view(np.float64)
        return min(float(edge), self.largest)
