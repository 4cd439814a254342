"""The costs of Taylor attention against other counts, proved formulas, and operations counted while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate, product

from verify.errors import InvalidRequestError
from verify.families.costs import multihead_cost
from verify.families.polynomial import basis
from verify.mechanisms.taylor import account, costs, counting
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.proofs.finding import Check, listed
from verify.proofs.identities import FEATURES, FLOPS, MONOMIALS
from verify.proofs.proof import N, d, d_v, p

COST_SIZES = (1, 2, 3, 5, 8, 16, 64, 128)


COST_ORDERS = range(16)


VALUE_SIZES = (1, 4)


COST_SCOPE = f"checked for d in {listed(COST_SIZES)}, N <= {COST_ORDERS[-1]}, d_v in {listed(VALUE_SIZES)} and d_v = d"


HEADS = ((24, 48), (2, 3, 8, 24), (0, 1, 3))  # W, d, N


# The account of operations that is printed, and more cases that are checked
ACCOUNT = (8, 3, 8)


COUNTED = (ACCOUNT, (16, 2, 16), (3, 4, 5), (5, 1, 2), (4, 0, 3), (2, 6, 3))


CHUNKS = (1, 5)


def _costs() -> Iterator[str]:
    for size, order in product(COST_SIZES, COST_ORDERS):
        counted = _counts(size, order)
        symbols = {d: size, p: order, N: order}
        constant = {
            "head_size": (size,),
            "order": (order,),
            "terms": (order + 1,),
            "degree_features": (counted[-1], int(MONOMIALS.subs(symbols))),
            "features": (sum(counted), int(FEATURES.subs(symbols))),
            "dense_features": (sum(size**degree for degree in range(order + 1)),),
            "alpha": (str(basis.alpha(order, size)),),
        }
        for given in (*VALUE_SIZES, size, None):
            row = TAYLOR.counts(size, given, TAYLOR.member(order=order))
            value_size = size if given is None else given
            flops = sum((4 * value_size + 2 * degree + 4) * m for degree, m in enumerate(counted))
            state = (value_size + 1) * sum(counted)
            expected = constant | {
                "value_size": (value_size,),
                "state_elements": (state, costs.state_size(size, order, given)),
                "flops_per_token": (
                    flops,
                    int(FLOPS.subs({**symbols, d_v: value_size})),
                    costs.flops_per_token(size, order, given),
                ),
                "kv_break_even": (_nearest(state, size + value_size),),
                "flop_break_even": (_nearest(flops, 2 * size + 2 * value_size + 3),),
                "flop_break_even_script": (_nearest(flops, 6 * size) if value_size == size else None,),
            }
            for name, accounts in expected.items():
                found = getattr(row, name)
                for wanted in accounts:
                    if found != wanted:
                        yield (
                            f"at d = {size}, d_v = {value_size}, order {order}: {name} is {found} by the cost"
                            f" functions, {wanted} by counting or by the proved formula"
                        )


def _counts(size: int, order: int) -> list[int]:
    """Return how many monomials there are of each degree up to an order, by multiplying series, without binomials."""
    series = [1] + [0] * order
    for _ in range(size):  # times 1 + t + t^2 + ...
        series = list(accumulate(series))
    return series


def _nearest(total: int, per_token: int) -> int:
    """Return total / per_token, rounded to the nearest integer, halves up."""
    return (Fraction(total, per_token) + Fraction(1, 2)).__floor__()


def _multihead() -> Iterator[str]:
    for width, size, order in product(*HEADS):
        at = f"at width {width}, d = {size}, order {order}"
        for given in (5, None):
            one = TAYLOR.counts(size, given, TAYLOR.member(order=order))
            heads = len(range(0, width, size))
            state, flops = heads * one.state_elements, heads * (one.flops_per_token or 0)
            expected = (width, heads, one, state, flops, width + one.value_size * heads)
            row = multihead_cost(width, one)
            totals = row.total_state_elements, row.total_flops_per_token, row.kv_cache_per_token
            found = (row.width, row.heads, row.head, *totals)
            if found != expected:
                yield f"{at}: width, heads, one head, state, FLOPs and cache {found}, not {expected}"
        with contextlib.suppress(InvalidRequestError):
            yield f"{at}: width {width + 1} is taken for {multihead_cost(width + 1, one).heads} heads"


def _counted() -> Iterator[str]:
    for case in COUNTED:
        at = f"at d, order, d_v = {case}"
        for name, counted, formula in (
            ("the packed form", counting.packed_parts, account.as_packed),
            ("the method as published", counting.published_parts, account.as_published),
        ):
            pairs = zip(counted(*case).in_order(), formula(*case).in_order(), strict=True)
            for part, (found, expected) in zip(account.NAMES.in_order(), pairs, strict=True):
                if found != expected:
                    yield f"{at}: {part} of {name}: counted {found}, expected {expected}"
        charged, published = account.charged(*case), costs.flops_per_token(*case)
        if sum(charged.in_order()) != published or charged.update != charged.read:
            yield f"{at}: {charged} of SA (14) do not add up to {published}, with as much to update as to read"
        for chunk in CHUNKS:
            own = counting.own_pair_operations(*case, chunk), account.as_own_pairs(*case, chunk)
            if own[0] != own[1]:
                yield f"{at}: own pairs of a chunk of {chunk}: counted {own[0]}, expected {own[1]}"


CHECKS = (
    Check(
        "costs",
        "SA (7), (12)-(15)",
        "features, state, FLOPs and break-even contexts are those of listed monomials and of the formulas proved above",
        COST_SCOPE,
        _costs,
    ),
    Check(
        "heads at fixed width",
        "SA (13), (15)",
        "W/d heads cost W/d times one head, with d_v = d and d_v = 5; a width that is no multiple is refused",
        "checked for W in {}, d in {}, N in {}".format(*map(listed, HEADS)),
        _multihead,
    ),
    Check(
        "operations of Taylor attention",
        "SA (14), (15), A1, A2",
        "what the packed form and the method as published execute, counted, is what the account of their parts says",
        f"checked for (d, N, d_v) in {listed(COUNTED)}, causal chunks of {listed(CHUNKS)}",
        _counted,
    ),
)
