"""Weights of conventional attention in balls: an engine of its own beside the formula."""

from __future__ import annotations

from collections.abc import Iterator

import flint
import numpy as np
from flint import arb, arb_mat

from verify.attention.contract import Attended, Member
from verify.attention.tiles import exact_matrix, scale_of_block, tile_keys
from verify.numbers.arrays import BoolArray, Float64Array
from verify.parallel.blocks import Block
from verify.problem import float_scale

# Keys whose logits are worked out in float64 at once.
ESTIMATED_KEYS = 1 << 12


class SoftmaxWeights:
    """exp(s_t - s*) where s* is a number near the largest logit of the row: it cancels in the quotient."""

    def __init__(self, block: Block, member: Member) -> None:
        self.member = member
        queries = exact_matrix(block.q) * scale_of_block(block)
        tops = _largest_logits(block, queries)
        # the shift is one more component of the product, where it costs next to nothing and is rounded once
        rows = [[*row, -top] for row, top in zip(queries.tolist(), tops, strict=True)]
        self.queries = arb_mat(rows)

    def terms(self, k: Float64Array, attended: Attended) -> Iterator[tuple[Member | None, int, list[arb]]]:
        """Yield what the keys of a tile add."""
        keys = exact_matrix(np.pad(k, ((0, 0), (0, 1)), constant_values=1.0))
        logits = (self.queries * keys.transpose()).entries()
        if attended is None:
            yield self.member, 1, list(map(arb.exp, logits))
        else:
            zero = arb(0)
            yield self.member, 1, [s.exp() if seen else zero for s, seen in zip(logits, attended, strict=True)]


def _largest_logits(block: Block, queries: arb_mat) -> list[arb]:
    """Return an exact number near the largest attended logit of each row, zero where nothing is attended.

    float64 finds it to within d (d + 3) 2**-53 |scale| max|q| max|k|: each product, sum and the scale are rounded once.
    Off by 2**10, it costs ten bits. Where it might be further off, or overflow, balls find it.
    """
    d = block.q.shape[1]
    scale = float_scale(block.scale, d)
    with np.errstate(all="ignore"):
        tops = np.full(len(block.rows), -np.inf)
        for first in range(0, len(block.k), ESTIMATED_KEYS):
            keys = slice(first, first + ESTIMATED_KEYS)
            logits = np.where(block.attended[:, keys], scale * (block.q @ block.k[keys].T), -np.inf)
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
        logits = (queries * exact_matrix(block.k[keys]).transpose()).tolist()
        for i, (row, seen) in enumerate(zip(logits, block.attended[:, keys].tolist(), strict=True)):
            found = [s.mid() for s, attended in zip(row, seen, strict=True) if attended]
            tops[i] = [max(found + tops[i])] if found else tops[i]
    return [top for (top,) in tops]
