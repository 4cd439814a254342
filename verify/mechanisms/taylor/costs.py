"""What Taylor attention costs: the published formulas as functions, exact integers, one per equation.

Sizes count numbers, not bytes; FLOPs are per token.  `order` is the highest power kept; the papers' P is order + 1.
Every function raises InvalidRequestError for a size below 1 or an order below 0.
"""

from __future__ import annotations

from math import comb

from verify.arguments import checked_order, checked_size
from verify.attention.contract import Member
from verify.attention.cost import Cost
from verify.families.costs import FeatureCost, PolynomialCost, feature_cost
from verify.families.polynomial.basis import alpha, degree_feature_count, dense_feature_count, feature_count
from verify.problem import Problem


def _checked(head_size: int, order: int, value_size: int | None) -> tuple[int, int, int]:
    """Return head size, order and value size as Python integers; without a value size it is the head size."""
    d, n = checked_size("head size", head_size), checked_order(order)
    return d, n, d if value_size is None else checked_size("value size", value_size)


def state_size(head_size: int, order: int, value_size: int | None = None) -> int:
    """Return (d_v + 1) C(d_k + order, order), the numbers in the state of Taylor attention. SA (1), (13)."""
    d, n, d_v = _checked(head_size, order, value_size)
    return (d_v + 1) * feature_count(d, n)


def flops_per_token(head_size: int, order: int, value_size: int | None = None) -> int:
    """Return sum over p <= order of (4 d_v + 2 p + 4) m_p, Taylor attention's FLOPs per token. SA (14), (15)."""
    d, n, d_v = _checked(head_size, order, value_size)
    # sum of p m_p = d_k C(d_k + order, order - 1), which closes the sum as SA (15) does, without its fraction
    power_sum = d * comb(d + n, n - 1) if n else 0
    return (4 * d_v + 4) * feature_count(d, n) + 2 * power_sum


def taylor_cost(member: Member, head_size: int, value_size: int | None = None) -> FeatureCost:
    """Return every cost of Taylor attention at one head size."""
    d, order, d_v = _checked(head_size, member["order"], value_size)
    own = PolynomialCost(order, degree_feature_count(d, order), dense_feature_count(d, order), str(alpha(order, d)))
    return feature_cost(member, d, d_v, feature_count(d, order), flops_per_token(d, order, d_v), own)


def packed_cost(problem: Problem, member: Member) -> Cost:
    """Return the cost of a form with packed features."""
    d, d_v, order = problem.head_size, problem.value_size, member["order"]
    return Cost(feature_count(d, order), state_size(d, order, d_v), flops_per_token(d, order, d_v))
