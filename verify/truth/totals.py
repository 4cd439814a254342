"""Weights of the tokens and the sums they go into, in ball arithmetic at the current precision.

Keys are taken in tiles, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import factorial
from operator import mul
from typing import Any, Protocol

import flint
import numpy as np
from flint import arb, arb_mat

from verify.numbers.arrays import BoolArray, Float64Array
from verify.parallel.blocks import Block
from verify.truth.mechanisms import undefined_mechanism

# What the balls of one tile may take, and how many stand for each pair at once: logits, powers, products, a matrix.
TILE_BYTES = 1 << 27
BALLS_PER_PAIR = 4

# Products of fewer keys than these leave flint's fast algorithms.
LEAST_KEYS = 64

# Keys whose logits are worked out in float64 at once.
ESTIMATED_KEYS = 1 << 12

Orders = Sequence[int | None]  # of Taylor; the others have one member, None

# What a mechanism adds to the sums: an order (or None), an integer factor, and a ball per pair, zero if unattended.
Terms = Iterator[tuple[int | None, int, list[arb]]]
Attended = list[bool] | None  # pair by pair; None where all are


def weighted_sums(
    block: Block, mechanism: str, orders: Orders, highest: int, *, magnitudes: bool = False
) -> dict[int | None, arb_mat]:
    """Return W [V | 1] per order: numerators in the first d_v columns, the sum of weights in the last.

    All orders share a factor, which depends on the highest.  With magnitudes, every term of the sums is replaced by its
    absolute value.
    """
    if mechanism not in _WEIGHTS:
        raise undefined_mechanism(mechanism, "enclosure in balls")
    weights = _WEIGHTS[mechanism](block, highest, magnitudes)
    values = np.pad(np.abs(block.v) if magnitudes else block.v, ((0, 0), (0, 1)), constant_values=1.0)
    totals: dict[int | None, arb_mat] = {order: arb_mat(len(block.rows), values.shape[1]) for order in orders}
    step = tile_keys(block, flint.ctx.prec)
    for first in range(0, len(block.k), step):
        keys = slice(first, first + step)
        seen = block.attended[:, keys]
        if not seen.any():
            continue
        right = _exact(values[keys])
        total = arb_mat(len(block.rows), values.shape[1])
        for order, coefficient, tile in weights.terms(block.k[keys], None if seen.all() else seen.ravel().tolist()):
            total += _matrix(tile, seen.shape) * right * coefficient
            if order in totals:
                totals[order] += total
    return totals


def bytes_of_ball(bits: int) -> int:
    """Return about what a ball of so many bits takes as an object in a list and in a matrix."""
    return 120 + bits // 8


def tile_keys(block: Block, bits: int) -> int:
    """Return how many keys are taken at once, for each of which there are the balls of its pairs, key and value."""
    balls = BALLS_PER_PAIR * (len(block.rows) + int(block.k.shape[1]) + int(block.v.shape[1]))
    return max(LEAST_KEYS, TILE_BYTES // (balls * bytes_of_ball(bits)))


class _Weights(Protocol):
    """The weights of a block, tile by tile."""

    def __init__(self, block: Block, highest: int, magnitudes: bool) -> None: ...

    def terms(self, k: Float64Array, attended: Attended) -> Terms:
        """Yield what the keys of a tile add."""


class _Softmax:
    """exp(s_t - s*) where s* is a number near the largest logit of the row: it cancels in the quotient."""

    def __init__(self, block: Block, highest: int, magnitudes: bool) -> None:
        queries = _exact(block.q) * _scale(block)
        tops = _largest_logits(block, queries)
        # the shift is one more component of the product, where it costs next to nothing and is rounded once
        rows = [[*row, -top] for row, top in zip(queries.tolist(), tops, strict=True)]
        self.queries = arb_mat(rows)

    def terms(self, k: Float64Array, attended: Attended) -> Terms:
        keys = _exact(np.pad(k, ((0, 0), (0, 1)), constant_values=1.0))
        logits = (self.queries * keys.transpose()).entries()
        if attended is None:
            yield None, 1, list(map(arb.exp, logits))
        else:
            zero = arb(0)
            yield None, 1, [s.exp() if seen else zero for s, seen in zip(logits, attended, strict=True)]


class _LogExp:
    """sum_i exp(q_i) exp(k_ti), LE (1) without its constant, which cancels in the quotient, as other factors do.

    Queries are shifted by the largest component of each, keys by the largest of all.
    """

    def __init__(self, block: Block, highest: int, magnitudes: bool) -> None:
        tops = block.q.max(axis=1).tolist()
        rows = zip(block.q.tolist(), tops, strict=True)
        self.queries = _matrix([(arb(x) - top).exp() for row, top in rows for x in row], block.q.shape)
        self.top = float(block.k.max(initial=-np.inf))

    def terms(self, k: Float64Array, attended: Attended) -> Terms:
        keys = _matrix([(arb(x) - self.top).exp() for x in k.ravel().tolist()], k.shape)
        yield None, 1, _only(attended, (self.queries * keys.transpose()).entries())


class _Taylor:
    """sum over p of s_t^p / p!, SA (9), grown by one term at a time, and with it every sum over tokens.

    All weights are multiplied by (highest order)!, which leaves the quotient as it is and the coefficients integers:
    logits with few bits stay exact, and weights that cancel are seen to be zero.
    """

    def __init__(self, block: Block, highest: int, magnitudes: bool) -> None:
        self.queries = _exact(block.q) * _scale(block)
        self.highest = highest
        self.magnitudes = magnitudes

    def terms(self, k: Float64Array, attended: Attended) -> Terms:
        logits = _only(attended, (self.queries * _exact(k).transpose()).entries())
        if self.magnitudes:
            logits = [abs(s) for s in logits]
        coefficient = factorial(self.highest)
        power = _only(attended, [arb(1)] * len(logits))
        yield 0, coefficient, power
        for p in range(1, self.highest + 1):
            power = list(map(mul, power, logits))
            coefficient //= p
            yield p, coefficient, power


_WEIGHTS: dict[str, type[_Weights]] = {
    "softmax": _Softmax,
    "logexp": _LogExp,
    "taylor": _Taylor,
}


def _scale(block: Block) -> arb:
    return arb(block.q.shape[1]).rsqrt() if block.scale is None else arb(block.scale)


def _only(attended: Attended, balls: list[arb]) -> list[arb]:
    if attended is None:
        return balls
    zero = arb(0)
    return [ball if seen else zero for ball, seen in zip(balls, attended, strict=True)]


def _exact(array: Float64Array) -> arb_mat:
    return _matrix(array.ravel().tolist(), array.shape)


def _matrix(entries: list[Any], shape: tuple[int, ...]) -> arb_mat:
    rows, columns = shape
    return arb_mat(rows, columns, entries)


def _largest_logits(block: Block, queries: arb_mat) -> list[arb]:
    """Return an exact number near the largest attended logit of each row, zero where nothing is attended.

    float64 finds it to within d (d + 3) 2**-53 |scale| max|q| max|k|: each product, sum and the scale are rounded once.
    Off by 2**10, it costs ten bits. Where it might be further off, or overflow, balls find it.
    """
    d = block.q.shape[1]
    scale = d**-0.5 if block.scale is None else block.scale
    with np.errstate(all="ignore"):
        tops = np.full(len(block.rows), -np.inf)
        for first in range(0, len(block.k), ESTIMATED_KEYS):
            keys = slice(first, first + ESTIMATED_KEYS)
            logits = np.where(block.attended[:, keys], (scale * block.q) @ block.k[keys].T, -np.inf)
            tops = np.maximum(tops, logits.max(axis=1))
        size = abs(scale) * np.abs(block.q).max(axis=1) * np.abs(block.k).max(initial=0.0)
        near = d * (d + 3) * 2.0**-53 * size <= 2.0**10
    attending: BoolArray = np.asarray(block.attended.any(axis=1))
    found = [arb(float(top)) if sees else arb(0) for top, sees in zip(tops, attending, strict=True)]
    far = attending & ~(near & np.isfinite(tops))
    if far.any():
        rows = queries.tolist()
        exact = _largest_midpoints(block.take(far), arb_mat([rows[i] for i in np.flatnonzero(far)]))
        for i, top in zip(np.flatnonzero(far).tolist(), exact, strict=True):
            found[i] = top
    return found


def _largest_midpoints(block: Block, queries: arb_mat) -> list[arb]:
    """Return the largest midpoint of the balls of the attended logits of each row, of which there is one at least."""
    tops: list[list[arb]] = [[] for _ in block.rows]
    step = tile_keys(block, flint.ctx.prec)
    for first in range(0, len(block.k), step):
        keys = slice(first, first + step)
        logits = (queries * _exact(block.k[keys]).transpose()).tolist()
        for i, (row, seen) in enumerate(zip(logits, block.attended[:, keys].tolist(), strict=True)):
            found = [s.mid() for s, attended in zip(row, seen, strict=True) if attended]
            tops[i] = [max(found + tops[i])] if found else tops[i]
    return [top for (top,) in tops]
