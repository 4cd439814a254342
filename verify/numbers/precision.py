"""The one place that touches the global precision of mpmath and of flint, and restores it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import flint
from mpmath import mp

# 2**14 bits are 4,900 digits. Only sums that cancel to nothing need more, and those no precision can certify.
MAX_BITS = 1 << 14


def bits_for(digits: int) -> int:
    """Return the smallest number of bits that holds this many decimal digits, ceil(digits log2 10)."""
    return math.ceil(digits * math.log2(10))


def digits_of(bits: int) -> int:
    """Return how many decimal digits this many accurate bits certify, floor(bits log10 2), at least 0."""
    return max(0, math.floor(bits * math.log10(2)))


@contextmanager
def flint_precision(bits: int) -> Iterator[None]:
    """Work at this many bits in Arb inside the block."""
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


@contextmanager
def mpmath_precision(bits: int) -> Iterator[None]:
    """Work at this many bits in mpmath inside the block."""
    with mp.workprec(bits):
        yield
