"""How roundings add up: the two standard factors, and repeated ones."""

from __future__ import annotations

from collections.abc import Callable
from math import expm1, inf, log1p, sqrt

# Given a number of roundings and the unit roundoff, a bound on the relative error they leave together.
Accumulated = Callable[[float, float], float]

# With it, one bound fails with a probability of at most 2 exp(-LAMBDA**2 (1 - u)**2 / 2), 2.5e-7, for each product.
LAMBDA = 5.6


def accumulated(count: float, unit: float) -> float:
    """Return gamma_n = n u / (1 - n u), infinite from n u = 1 on: |prod (1 + d_i)^(+-1) - 1| <= gamma_n, |d_i| <= u.

    N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, lemma 3.1.
    """
    return count * unit / (1.0 - count * unit) if count * unit < 1.0 else inf


def accumulated_probably(count: float, unit: float) -> float:
    """Return exp(LAMBDA sqrt(n) u + n u^2 / (1 - u)) - 1: gamma_n for roundings that are independent with mean zero.

    N. J. Higham and T. Mary, SIAM J. Sci. Comput. 41(5), 2019, theorem 2.4.
    """
    exponent = LAMBDA * sqrt(count) * unit + count * unit * unit / (1.0 - unit)
    return expm1(exponent) if exponent < 700.0 else inf


def compounded(count: float, each: float) -> float:
    """Return (1 + each)^count - 1, infinite where it is beyond float64."""
    exponent = count * log1p(each)
    return expm1(exponent) if exponent < 700.0 else inf
