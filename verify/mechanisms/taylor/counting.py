"""Operations counted while a formulation runs: numbers that keep a tally of what is done with them.

The mechanisms are run as they are, on object arrays of such numbers; nothing is counted by looking at the code.
"""

from __future__ import annotations

import math
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.families.polynomial.basis import monomial_indices, multiplicities
from verify.families.polynomial.features import FeatureMap
from verify.families.polynomial.forms import packed
from verify.mechanisms.taylor.account import NAMES, REASONS, Account, AccountRow, Parts, charged
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.numbers.arithmetic import named_arithmetic
from verify.numbers.counted import CountingArithmetic, Operations
from verify.problem import Problem


def account(head_size: int, order: int, value_size: int, chunk: int = 16) -> Account:
    """Return the operations of one token, part by part and all together, counted beside what is published."""
    sizes = (head_size, order, value_size)
    columns = (
        NAMES.in_order(),
        charged(*sizes).in_order(),
        published_parts(*sizes).in_order(),
        packed_parts(*sizes).in_order(),
        REASONS.in_order(),
    )
    rows = [AccountRow(*cells) for cells in zip(*columns, strict=True)]
    whole = AccountRow(
        "all",
        sum(row.charged for row in rows),
        sum((row.published for row in rows), Operations()),
        sum((row.packed for row in rows), Operations()),
        "",
    )
    return Account(*sizes, (*rows, whole), chunk, own_pair_operations(*sizes, chunk))


def own_pair_operations(head_size: int, order: int, value_size: int, chunk: int) -> Operations:
    """Return what a token of a causal chunk took for the chunk's own pairs, counted while it ran."""
    arithmetic = CountingArithmetic()
    rng = np.random.default_rng(15)
    q, k, v = (rng.uniform(0.5, 1.0, (3 * chunk, size)) for size in (head_size, head_size, value_size))
    taken = []
    for count in (2 * chunk, 3 * chunk):
        packed(
            Problem(q[:count], k[:count], v[:count], causal=True), arithmetic, TAYLOR.member(order=order), chunk=chunk
        )
        taken.append(arithmetic.tally.taken())
    through_state = sum(packed_parts(head_size, order, value_size).in_order(), Operations())
    return (taken[1] - taken[0]).shared_by(chunk) - through_state


def packed_parts(head_size: int, order: int, value_size: int) -> Parts[Operations]:
    """Return what one token took of our packed form, counted while it ran."""
    arithmetic = CountingArithmetic()
    tally = arithmetic.tally
    q, k, v = _tokens(head_size, value_size)
    features = FeatureMap(arithmetic, 1, head_size, order, 1)
    of = {}
    for side, share in (("key", 0.0), ("query", 1.0)):
        for _ in features.blocks(arithmetic.as_input(k[None, :1]), share):
            pass
        of[side] = tally.taken()
    packed(Problem(q[:0], k, v), arithmetic, TAYLOR.member(order=order))
    update = tally.taken().shared_by(len(k))
    packed(Problem(q, k, v), arithmetic, TAYLOR.member(order=order))
    whole = tally.taken().shared_by(len(k))
    return Parts(of["key"] + of["query"], update - of["key"], whole - update - of["query"])


def published_parts(head_size: int, order: int, value_size: int) -> Parts[Operations]:
    """Return what the last of several tokens took of SA's method (A1, A2) as it is written, counted while it ran.

    Raises ArithmeticError if its output is not that of our form to 1e-9: sums of a few hundred terms of size 1.
    """
    arithmetic = CountingArithmetic()
    tally = arithmetic.tally
    rows = _tokens(head_size, value_size)
    one = arithmetic.as_input(np.ones(1))
    indices = [np.array(monomial_indices(head_size, p), dtype=np.intp) for p in range(order + 1)]
    alphas = [1.0 / (factorial(p) * math.sqrt(head_size) ** p) for p in range(order + 1)]
    weights = [np.array(multiplicities(head_size, p), dtype=object) for p in range(order + 1)]

    def features(token: NDArray[Any]) -> list[NDArray[Any]]:
        return [one, *(np.multiply.reduce(token[chosen], axis=1) for chosen in indices[1:])]

    z = [np.zeros(len(chosen), dtype=object) for chosen in indices]
    s = [np.zeros((len(chosen), value_size), dtype=object) for chosen in indices]
    for q, k, v in zip(*map(arithmetic.as_input, rows), strict=True):
        tally.taken()
        of_q, of_k = features(q), features(k)
        both = tally.taken()
        for p, phi in enumerate(of_k):
            weighted = alphas[p] * phi
            z[p] += weighted
            s[p] += np.multiply.outer(weighted, v)
        update = tally.taken()
        numerator, normaliser = np.zeros(value_size, dtype=object), 0
        for p, phi in enumerate(of_q):
            weighted = weights[p] * phi
            numerator += weighted @ s[p]
            normaliser += weighted @ z[p]
        output = numerator / normaliser
        read = tally.taken()
    expected = packed(
        Problem(rows[0], rows[1], rows[2]), named_arithmetic("float64"), TAYLOR.member(order=order)
    ).value[-1]
    if not np.abs(output.astype(np.float64) - expected).max() < 1e-9:
        raise ArithmeticError(f"the method as published gave {output.astype(np.float64)}, the packed form {expected}")
    return Parts(both, update, read)


def _tokens(head_size: int, value_size: int) -> tuple[NDArray[np.float64], ...]:
    rng = np.random.default_rng(14)
    return tuple(rng.uniform(0.5, 1.0, (3, size)) for size in (head_size, head_size, value_size))
