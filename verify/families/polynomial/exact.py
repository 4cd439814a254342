"""Weights that are polynomials of the logits, in balls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import lcm
from operator import mul

from flint import arb

from verify.attention.contract import Attended, Member
from verify.attention.tiles import exact_matrix, only_attended, scale_of_block
from verify.families.polynomial.polynomial import coefficients_of
from verify.numbers.arrays import Float64Array
from verify.parallel.blocks import Block


class PowerSums:
    """sum over p of c_p s_t^p, grown by one term at a time, and with it every sum over tokens.

    members: of which each has the coefficients of the last, up to its own order.  All weights are multiplied by the
    common denominator of the coefficients, which leaves the quotient as it is and the coefficients integers: logits
    with few bits stay exact, and weights that cancel are seen to be zero.
    """

    def __init__(self, block: Block, members: Sequence[Member], magnitudes: bool) -> None:
        self.queries = exact_matrix(block.q) * scale_of_block(block)
        self.magnitudes = magnitudes
        self.by_order = {len(coefficients_of(member)) - 1: member for member in members}
        longest = self.by_order[max(self.by_order)]
        coefficients = coefficients_of(longest)
        denominator = lcm(*(c.denominator for c in coefficients))
        self.coefficients = [int(c * denominator) for c in coefficients]
        if magnitudes:
            self.coefficients = [abs(c) for c in self.coefficients]

    def terms(self, k: Float64Array, attended: Attended) -> Iterator[tuple[Member | None, int, list[arb]]]:
        """Yield what the keys of a tile add, power by power."""
        logits = only_attended(attended, (self.queries * exact_matrix(k).transpose()).entries())
        if self.magnitudes:
            logits = [abs(s) for s in logits]
        power = only_attended(attended, [arb(1)] * len(logits))
        for p, coefficient in enumerate(self.coefficients):
            if p:
                power = list(map(mul, power, logits))
            if coefficient or p in self.by_order:
                yield self.by_order.get(p), coefficient, power
