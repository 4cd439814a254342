"""Taylor attention (SA): the exponential cut after a power."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arguments import Value, Whole
from verify.attention.contract import Member
from verify.bounds.logits import extreme_logits
from verify.families.costs import FeatureCost
from verify.families.polynomial.kernel import PolynomialKernel, polynomial_forms
from verify.mechanisms.taylor.account import as_packed
from verify.mechanisms.taylor.costs import packed_cost, taylor_cost
from verify.mechanisms.taylor.state import TaylorState
from verify.mechanisms.taylor.truncation import deviation_range, output_bound, positivity_radius
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.counted import Operations
from verify.problem import Problem

# 512! is far beyond any use; exact values of high orders are found, each a term later than the last.
LARGEST_ORDER = 512

# Beyond it exact values would still be found, slowly, and features by nobody.
LARGEST_SEARCHED = 63


@cache
def _coefficients(order: int) -> tuple[Fraction, ...]:
    return tuple(Fraction(1, factorial(p)) for p in range(order + 1))


def packed_operations(problem: Problem, member: Member) -> Operations:
    """Return what one token takes through the state."""
    parts = as_packed(problem.head_size, member["order"], problem.value_size)
    return sum(parts.in_order(), Operations())


class Taylor(PolynomialKernel):
    """w_t = sum over p <= N of s_t^p / p!, s_t = scale q.k_t."""

    name = "taylor"
    description = "the exponential cut after a power: order is the highest one kept, terms = order + 1"
    source = "SA (3), (9)"
    parameters = {"order": Whole(None, least=0, most=LARGEST_ORDER)}
    axis = "order"
    proposed = 3  # SA's four terms
    formula_error = "truncation"
    nested = True
    forms = polynomial_forms(
        packed_cost,
        lambda member, d, d_v, **settings: TaylorState(d, d_v, member["order"], **settings),
        packed_operations,
        published=True,
    )

    def coefficients(self, member: Member) -> Sequence[Fraction]:
        """Return 1 / p!."""
        return _coefficients(member["order"])

    def order(self, member: Member) -> int:
        """Return N, the highest power kept."""
        return int(member["order"])

    def factors(self, member: Member) -> None:
        """Return nothing: p! / p! is 1."""
        return

    def evaluate(
        self, logits: NDArray[Any], member: Member, arithmetic: Arithmetic, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Return 1 + s (1 + s/2 (1 + s/3 (...))), in the sums' format: no coefficient is rounded."""
        total = np.empty_like(logits) if out is None else out
        total[...] = 1
        for p in range(member["order"], 0, -1):
            total *= logits
            total = arithmetic.as_sum(total)
            total /= logits.dtype.type(p)
            total = arithmetic.as_sum(total)
            total += logits.dtype.type(1)
            total = arithmetic.as_sum(total)
        return total

    def evaluation(self, member: Member) -> tuple[Sequence[int], Sequence[float]]:
        """Return products, divisions and additions: those of s by 1, and by powers of two, are exact.

        The term of degree p is added once, unless it is the highest, and takes all three in each of p steps.  An error
        of step p is multiplied by s^p / p! in those that follow.
        """
        order = member["order"]
        counts = [2 * p - p.bit_length() + min(p + 1, order) - (0 < p == order) for p in range(order + 1)]
        return counts, [float(c) for c in self.coefficients(member)]

    def row_bound(self, problem: Problem, member: Member) -> Callable[[float, float], float]:
        """Return the tight bound: the factor T_N(s) exp(-s) is monotone on either side of 0."""
        return lambda low, high: output_bound(low, high, member["order"])

    def searched(self, largest: int | None) -> Sequence[int]:
        """Return the orders from 0 on, up to 31 unless told otherwise, and never beyond LARGEST_SEARCHED."""
        last = Whole(31, least=0, most=LARGEST_SEARCHED).checked("largest order", 31 if largest is None else largest)
        return range(last + 1)

    def counts(self, head_size: int, value_size: int | None, member: Member) -> FeatureCost:
        """Return the published costs."""
        return taylor_cost(member, head_size, value_size)

    def labels(self, member: Member) -> dict[str, Value]:
        """Return order and terms."""
        return {"order": member["order"], "terms": member["order"] + 1}

    def hopeless(self, problem: Problem, members: Sequence[Member]) -> str:
        """Say what the largest order does to exp over the logits, and from where on weights are negative."""
        low, high = extreme_logits(problem)
        if not -np.inf < low <= high < np.inf:
            return "logits leave float64"
        largest = members[-1]["order"]
        off = max(abs(x) for x in deviation_range(largest, low, high))
        why = (
            f"logits go from {low:.3g} to {high:.3g}, where order {largest} changes exp by up to {off:.2g} times itself"
        )
        odd = largest - (largest + 1) % 2
        radius = positivity_radius(odd) if odd > 0 else None
        if radius is not None and low < -float(radius.mid()):
            why += f"; weights of order {odd} are negative below -{float(radius.mid()):.3g}"
        return why


TAYLOR = Taylor()
