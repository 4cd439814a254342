"""What conventional attention costs: as published, and as it runs."""

from __future__ import annotations

from verify.arguments import checked_size
from verify.attention.contract import Member
from verify.attention.cost import Cost
from verify.families.costs import conventional_flops_per_token, kv_cache_size
from verify.numbers.counted import Operations
from verify.problem import Problem


def conventional_cost(problem: Problem, member: Member) -> Cost:
    """Return the cache of keys and values, and the FLOPs of one token by the paper's count."""
    n, d, d_v = problem.keys, problem.head_size, problem.value_size
    return Cost(None, kv_cache_size(n, d, d_v), conventional_flops_per_token(n, d, d_v))


def operations(problem: Problem, member: Member) -> Operations:
    """Return what a query over all keys of the problem takes."""
    return as_softmax(problem.keys, problem.head_size, problem.value_size)


def as_softmax(tokens: int, head_size: int, value_size: int) -> Operations:
    """Return what our conventional attention executes for one query over n keys.

    SA's 2 d_k + 2 d_v + 3 for each key: d_k multiplications and d_k - 1 additions, scale, shift, exp, Z, and d_v of
    each for the output.  Beyond it, the largest logit is found by comparing, and the output divided by Z; the first of
    every sum over keys is not added.
    """
    n, head_size = checked_size("tokens", tokens), checked_size("head size", head_size)
    value_size = checked_size("value size", value_size)
    return Operations(
        multiplications=n * (head_size + 1 + value_size),
        additions=n * (head_size - 1) + n + (n - 1) * (1 + value_size),
        divisions=value_size,
        exponentials=n,
        comparisons=n,
    )
