"""Attention with a power of the logit instead of its exponential."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from verify.arguments import Whole
from verify.attention.contract import Member
from verify.families.polynomial.kernel import PolynomialKernel

LARGEST_DEGREE = 64


class Power(PolynomialKernel):
    """w_t = s_t^p for even p, s_t = scale q.k_t: never negative, and a scale that is not 0 cancels."""

    name = "power"
    description = "an even power of the logit"
    source = "Kacham, Mirrokni and Zhong, PolySketchFormer, arXiv 2310.01655, section 2.1"
    parameters = {"degree": Whole(2, least=2, most=LARGEST_DEGREE, step=2)}
    axis = "degree"

    def coefficients(self, member: Member) -> Sequence[Fraction]:
        """Return 0 but for the highest, which is 1."""
        return [Fraction(int(p == member["degree"])) for p in range(member["degree"] + 1)]


POWER = Power()
