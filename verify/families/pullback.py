"""Derivatives of weights that are functions of the logit, in balls: by numbers that know their derivative."""

from __future__ import annotations

from collections.abc import Callable
from operator import mul
from typing import Any

from flint import arb, arb_mat

from verify.attention.contract import Attended, Pullback, Pulled
from verify.attention.logits import BallLogits
from verify.attention.tiles import ball_matrix, exact_matrix, only_attended, scale_of_block
from verify.numbers.duals import Dual, DualField
from verify.numbers.fields import BallField
from verify.parallel.blocks import Block


def ball_duals() -> DualField:
    """Return the field of balls with derivatives; that of max(x, 0) is 0, 1, or where x may be either both."""
    return DualField(BallField(), lambda x: arb(1) if x > 0 else arb(0) if x < 0 else arb(0).union(arb(1)))


class LogitPullback(Pullback):
    """w_t = g(s_t) and g'(s_t): logits are off by scale (dq.k_t + q.dk_t), times 1 - tanh^2 where they are capped.

    function: g in the field of `ball_duals`.  shifts: by row what is taken from logits first; a factor of the row.
    """

    def __init__(self, block: Block, function: Callable[[Any], Any], shifts: list[arb] | None = None) -> None:
        self.block, self.function = block, function
        self.logits = BallLogits(block)
        self.shifts = [arb(0)] * len(block.rows) if shifts is None else shifts

    def _weighed(self, logits: list[arb], shifts: list[arb]) -> list[Any]:
        found = [self.function(Dual(s - top, arb(1))) for s, top in zip(logits, shifts, strict=True)]
        return [x if isinstance(x, Dual) else Dual(arb(x), arb(0)) for x in found]

    def _by_pair(self, keys: slice) -> list[arb]:
        count = len(self.block.k[keys])
        return [top for top in self.shifts for _ in range(count)]

    def weights(self, keys: slice, attended: Attended) -> list[arb]:
        """Return g(s_t)."""
        logits = only_attended(attended, self.logits.of(keys))
        return only_attended(attended, [x.value for x in self._weighed(logits, self._by_pair(keys))])

    def pulled(self, keys: slice, attended: Attended, changes: list[arb]) -> Pulled:
        """Return scale sum_t c_t g'(s_t) k_t, the same for k, and c_t g'(s_t) by pair."""
        capped = self.logits.capped(keys)
        logits = only_attended(attended, self.logits.added(keys, capped))
        slopes = only_attended(attended, [x.slope for x in self._weighed(logits, self._by_pair(keys))])
        of_logits = of_products = list(map(mul, changes, slopes))
        if self.block.softcap is not None:
            cap = arb(self.block.softcap)
            of_products = [c * (1 - (s / cap) ** 2) for c, s in zip(of_logits, capped, strict=True)]
        k = exact_matrix(self.block.k[keys])
        table = ball_matrix(of_products, (len(self.block.rows), k.nrows()))
        scale = scale_of_block(self.block)
        of_k: arb_mat = table.transpose() * exact_matrix(self.block.q) * scale
        return Pulled(table * k * scale, of_k, of_logits)

    def sink(self) -> tuple[list[arb], list[arb]]:
        """Return g and g' at the sink's logit."""
        found = self._weighed([self.logits.sink] * len(self.shifts), self.shifts)
        return [x.value for x in found], [x.slope for x in found]
