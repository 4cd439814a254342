"""What log-exp attention costs."""

from __future__ import annotations

from verify.arguments import checked_size
from verify.attention.contract import Member
from verify.attention.cost import Cost
from verify.problem import Problem


def logexp_state_size(head_size: int, value_size: int | None = None) -> int:
    """Return d_k (d_v + 1), the numbers in the state of log-exp attention. LE, from (6)."""
    d = checked_size("head size", head_size)
    return d * ((d if value_size is None else checked_size("value size", value_size)) + 1)


def logexp_cost(problem: Problem, member: Member) -> Cost:
    """Return the cost of the forms with a state; nobody has published the operations."""
    return Cost(problem.head_size, logexp_state_size(problem.head_size, problem.value_size), None)
