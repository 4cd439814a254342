"""The Chebyshev series of exp on [-R, R], cut after an order N: near the best polynomial there, and no good beyond.

    attnproof sweep --mechanism examples/chebyshev.py:CHEBYSHEV --mechanisms chebyshev/scores --input normal

exp(s) = I_0(R) + 2 sum over n of I_n(R) T_n(s / R), I_n the modified Bessel functions.  Their own series are cut after
so many terms that nobody can tell; all coefficients are then rational numbers, and are worked out without rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import factorial

from verify.arguments import Real, Whole
from verify.attention.contract import Member
from verify.families import PolynomialKernel

# More than enough for R <= 32: what is left out is below 10^-50 of I_n(R).
BESSEL_TERMS = 80


@lru_cache(maxsize=64)
def coefficients(order: int, radius: float) -> tuple[Fraction, ...]:
    """Return c_0 .. c_N of the powers of s."""
    r, zero, one = Fraction(radius), Fraction(0), Fraction(1)
    total = [zero] * (order + 1)
    now, after = [one], [zero, one / r]  # T_n and T_n+1 of s / R
    for n in range(order + 1):
        bessel = sum((r / 2) ** (n + 2 * j) / (factorial(j) * factorial(n + j)) for j in range(BESSEL_TERMS))
        for p, t in enumerate(now):
            total[p] += (2 if n else 1) * bessel * t
        now, after = after, [2 / r * b - a for a, b in zip([*now, zero, zero], [zero, *after], strict=True)]
    return tuple(total)


class Chebyshev(PolynomialKernel):
    """w_t = I_0(R) + 2 sum over 0 < n <= N of I_n(R) T_n(s_t / R)."""

    name = "chebyshev"
    description = "the Chebyshev series of exp on [-radius, radius], cut after an order"
    source = "DLMF (10.35.2), (10.25.2)"
    parameters = {"order": Whole(3, least=0, most=32), "radius": Real(4.0, least=0.0, most=32.0, above=True)}
    axis = "order"
    formula_error = "truncation"

    def coefficients(self, member: Member) -> Sequence[Fraction]:
        """Return c_0 .. c_N, exactly."""
        return coefficients(member["order"], member["radius"])


CHEBYSHEV = Chebyshev()
