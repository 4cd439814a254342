"""Weights of conventional attention in balls: an engine of its own beside the formula."""

from __future__ import annotations

from operator import sub

import flint
import numpy as np
from flint import arb, arb_mat

from verify.attention.contract import Attended, Member, Terms, TileWeights
from verify.attention.logits import BallLogits
from verify.attention.tiles import exact_matrix, tile_keys
from verify.numbers.arrays import BoolArray
from verify.parallel.blocks import Block
from verify.problem import float_scale

# Keys whose logits are worked out in float64 at once.
ESTIMATED_KEYS = 1 << 12


class SoftmaxWeights(TileWeights):
    """exp(s_t - s*) where s* is a number near the largest logit of the row: it cancels in the quotient."""

    def __init__(self, block: Block, member: Member) -> None:
        self.member, self.block, self.logits = member, block, BallLogits(block)
        self.tops = _largest_logits(block, self.logits)
        # the shift is one more component of the product, where it costs next to nothing and is rounded once
        self.shifted = arb_mat([[*row, -top] for row, top in zip(self.logits.queries.tolist(), self.tops, strict=True)])

    def terms(self, keys: slice, attended: Attended) -> Terms:
        """Yield what the keys of a tile add."""
        if self.block.adjusts:
            count = len(self.block.k[keys])
            shifts = (top for top in self.tops for _ in range(count))
            logits = list(map(sub, self.logits.of(keys), shifts))
        else:
            right = exact_matrix(np.pad(self.block.k[keys], ((0, 0), (0, 1)), constant_values=1.0))
            logits = (self.shifted * right.transpose()).entries()
        if attended is None:
            yield self.member, 1, list(map(arb.exp, logits))
        else:
            zero = arb(0)
            yield self.member, 1, [s.exp() if seen else zero for s, seen in zip(logits, attended, strict=True)]

    def factor(self) -> tuple[int, list[arb]]:
        """Return the shifts."""
        return 1, self.tops

    def sink(self) -> Terms:
        """Yield what the sink adds."""
        yield self.member, 1, [(self.logits.sink - top).exp() for top in self.tops]


def _largest_logits(block: Block, logits: BallLogits) -> list[arb]:
    """Return an exact number near the largest attended logit of each row, zero where nothing is attended.

    float64 finds it to within d (d + 3) 2**-53 |scale| max|q| max|k|: each product, sum and the scale are rounded once.
    Off by 2**10, it costs ten bits. Where it might be further off, or overflow, or where logits are more than scaled
    products, balls find it.  A sink counts as attended.
    """
    tops = _largest_midpoints(block, logits) if block.adjusts else _largest_products(block, logits)
    if block.sink is None:
        return tops
    seeing: list[bool] = np.asarray(block.attended.any(axis=1)).tolist()
    return [max(top, logits.sink) if sees else logits.sink for top, sees in zip(tops, seeing, strict=True)]


def _largest_products(block: Block, logits: BallLogits) -> list[arb]:
    """Return the same for logits that are scaled products."""
    d = block.q.shape[1]
    scale = float_scale(block.scale, d)
    with np.errstate(all="ignore"):
        tops = np.full(len(block.rows), -np.inf)
        for first in range(0, len(block.k), ESTIMATED_KEYS):
            keys = slice(first, first + ESTIMATED_KEYS)
            products = np.where(block.attended[:, keys], scale * (block.q @ block.k[keys].T), -np.inf)
            tops = np.maximum(tops, products.max(axis=1))
        size = abs(scale) * np.abs(block.q).max(axis=1) * np.abs(block.k).max(initial=0.0)
        near = d * (d + 3) * 2.0**-53 * size <= 2.0**10
    attending: BoolArray = np.asarray(block.attended.any(axis=1))
    found = [arb(float(top)) if sees else arb(0) for top, sees in zip(tops, attending, strict=True)]
    far = attending & ~(near & np.isfinite(tops))
    if far.any():
        some = block.take(far)
        exact = _largest_midpoints(some, BallLogits(some))
        for i, top in zip(np.flatnonzero(far).tolist(), exact, strict=True):
            found[i] = top
    return found


def _largest_midpoints(block: Block, logits: BallLogits) -> list[arb]:
    """Return the largest midpoint of the balls of the attended logits of each row, zero where there is none."""
    tops: list[list[arb]] = [[] for _ in block.rows]
    step = tile_keys(block, flint.ctx.prec)
    for first in range(0, len(block.k), step):
        keys = slice(first, first + step)
        tile, attended = logits.of(keys), block.attended[:, keys]
        count = attended.shape[1]
        for i, seen in enumerate(attended.tolist()):
            found = [s.mid() for s, sees in zip(tile[i * count : (i + 1) * count], seen, strict=True) if sees]
            tops[i] = [max(found + tops[i])] if found else tops[i]
    return [row[0] if row else arb(0) for row in tops]
