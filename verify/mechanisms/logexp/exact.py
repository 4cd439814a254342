"""Weights of log-exp attention in balls: an engine of its own beside the formula."""

from __future__ import annotations

import numpy as np
from flint import arb

from verify.attention.contract import Attended, Member, Terms, TileWeights
from verify.attention.tiles import ball_matrix, only_attended
from verify.parallel.blocks import Block


class LogExpWeights(TileWeights):
    """sum_i exp(q_i) exp(k_ti), LE (1) without its constant, which cancels in the quotient, as other factors do.

    Queries are shifted by the largest component of each, keys by the largest of all.
    """

    def __init__(self, block: Block, member: Member) -> None:
        self.member, self.k = member, block.k
        tops = block.q.max(axis=1).tolist()
        rows = zip(block.q.tolist(), tops, strict=True)
        self.queries = ball_matrix([(arb(x) - top).exp() for row, top in rows for x in row], block.q.shape)
        self.top = float(block.k.max(initial=-np.inf))
        self.tops = tops

    def factor(self) -> tuple[int, list[arb]]:
        """Return the shifts of queries and keys: sums are those of LE (1) without its constant."""
        return 1, [arb(top) + (self.top if len(self.k) else 0) for top in self.tops]

    def terms(self, keys: slice, attended: Attended) -> Terms:
        """Yield what the keys of a tile add."""
        k = self.k[keys]
        right = ball_matrix([(arb(x) - self.top).exp() for x in k.ravel().tolist()], k.shape)
        yield self.member, 1, only_attended(attended, (self.queries * right.transpose()).entries())
