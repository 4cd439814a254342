"""Weights of log-exp attention in balls: an engine of its own beside the formula."""

from __future__ import annotations

from operator import mul

import numpy as np
from flint import arb, arb_mat

from verify.attention.contract import Attended, Member, Pullback, Pulled, Terms, TileWeights
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
        yield self.member, 1, only_attended(attended, (self.queries * self.keys(keys).transpose()).entries())

    def keys(self, keys: slice) -> arb_mat:
        """Return exp(k - top) of some keys."""
        k = self.k[keys]
        return ball_matrix([(arb(x) - self.top).exp() for x in k.ravel().tolist()], k.shape)


class LogExpPullback(Pullback):
    """w_t = sum_i a_i b_ti with a = exp(q), b = exp(k): dw_t = sum_i a_i b_ti (dq_i + dk_ti)."""

    def __init__(self, block: Block, member: Member) -> None:
        self.own, self.rows = LogExpWeights(block, member), len(block.rows)

    def weights(self, keys: slice, attended: Attended) -> list[arb]:
        """Return the weights of some keys."""
        return only_attended(attended, (self.own.queries * self.own.keys(keys).transpose()).entries())

    def pulled(self, keys: slice, attended: Attended, changes: list[arb]) -> Pulled:
        """Return a_i sum_t c_t b_ti, and b_ti times the sum of c_t a_i over queries."""
        a, b = self.own.queries, self.own.keys(keys)
        table = ball_matrix(changes, (self.rows, b.nrows()))
        return Pulled(_entrywise(a, table * b), _entrywise(b, table.transpose() * a), None)


def _entrywise(one: arb_mat, other: arb_mat) -> arb_mat:
    return ball_matrix(list(map(mul, one.entries(), other.entries())), (one.nrows(), one.ncols()))
