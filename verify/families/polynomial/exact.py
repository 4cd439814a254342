"""Weights that are polynomials of the logits, in balls."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm
from operator import mul

from flint import arb

from verify.attention.contract import Attended, Member, Terms, TileWeights
from verify.attention.logits import BallLogits
from verify.attention.tiles import only_attended
from verify.families.polynomial.polynomial import coefficients_of
from verify.parallel.blocks import Block


class PowerSums(TileWeights):
    """sum over p of c_p s_t^p, grown by one term at a time, and with it every sum over tokens.

    members: of which each has the coefficients of the last, up to its own order.  All weights are multiplied by the
    common denominator of the coefficients, which leaves the quotient as it is and the coefficients integers: logits
    with few bits stay exact, and weights that cancel are seen to be zero.
    """

    def __init__(self, block: Block, members: Sequence[Member], magnitudes: bool) -> None:
        self.logits = BallLogits(block)
        self.magnitudes = magnitudes
        self.by_order = {len(coefficients_of(member)) - 1: member for member in members}
        longest = self.by_order[max(self.by_order)]
        coefficients = coefficients_of(longest)
        self.denominator = lcm(*(c.denominator for c in coefficients))
        self.coefficients = [int(c * self.denominator) for c in coefficients]
        if magnitudes:
            self.coefficients = [abs(c) for c in self.coefficients]

    def terms(self, keys: slice, attended: Attended) -> Terms:
        """Yield what the keys of a tile add, power by power."""
        logits = only_attended(attended, self.logits.of(keys))
        yield from self._powers(logits, only_attended(attended, [arb(1)] * len(logits)))

    def factor(self) -> tuple[int, list[arb]]:
        """Return the common denominator."""
        return self.denominator, [arb(0)] * len(self.logits.block.rows)

    def sink(self) -> Terms:
        """Yield what the sink adds, power by power."""
        rows = len(self.logits.block.rows)
        yield from self._powers([self.logits.sink] * rows, [arb(1)] * rows)

    def _powers(self, logits: list[arb], power: list[arb]) -> Terms:
        if self.magnitudes:
            logits = [abs(s) for s in logits]
        for p, coefficient in enumerate(self.coefficients):
            if p:
                power = list(map(mul, power, logits))
            if coefficient or p in self.by_order:
                yield self.by_order.get(p), coefficient, power
