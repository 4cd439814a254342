"""Everything that is known about the symmetric basis and its costs, proved or checked, as findings one by one.

The numeric basis and the cost functions are under test here: they are compared with what sympy derives, with lists made
by the standard library, with exact integers, and with operations counted while the formulations run.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import accumulate, combinations_with_replacement, product
from math import factorial, prod

import numpy as np

from verify import basis, cost, counting, operations
from verify.errors import InvalidRequestError
from verify.numbers.formats import FORMATS, stored_bytes
from verify.proofs import PROOFS, enumerated_monomials, expanded_power
from verify.proofs.finding import Finding, first_difference
from verify.proofs.identities import FEATURES, FLOPS, MONOMIALS
from verify.proofs.minimality import CASES as RANK_CASES
from verify.proofs.minimality import random_ranks
from verify.proofs.proof import N, d, d_v, p


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


SMALL = 6
LARGER = ((16, 3), (8, 5), (2, 24), (3, 21))
CASES = (*product(range(1, SMALL + 1), range(SMALL + 1)), *LARGER)
CASES_SCOPE = f"checked for d <= {SMALL}, p <= {SMALL} and {_listed(LARGER)}"

COST_SIZES = (1, 2, 3, 5, 8, 16, 64, 128)
COST_ORDERS = range(16)
VALUE_SIZES = (1, 4)
COST_SCOPE = (
    f"checked for d in {_listed(COST_SIZES)}, N <= {COST_ORDERS[-1]}, d_v in {_listed(VALUE_SIZES)} and d_v = d"
)

TENSOR_ELEMENTS = 4096

ALPHA_SIZES, ALPHA_DEGREES = (1, 2, 4, 8, 64, 128), range(16)
CONVENTIONAL = ((1, 7, 1000), (1, 8), (1, 3, None))  # n, d, d_v
HEADS = ((24, 48), (2, 3, 8, 24), (0, 1, 3))  # W, d, N

# The account of operations that is printed, and more cases that are checked
ACCOUNT = (8, 3, 8)
COUNTED = (ACCOUNT, (16, 2, 16), (3, 4, 5), (5, 1, 2), (4, 0, 3), (2, 6, 3))
CHUNKS = (1, 5)
SOFTMAX_COUNTED = ((64, 8, 8), (17, 3, 5), (1, 4, 2))


def findings() -> Iterator[Finding]:
    """Yield what became of every proof, then of every check against independent accounts."""
    for proof in PROOFS:
        yield proof.finding()
    for check in CHECKS:
        yield check.finding()


@dataclass(frozen=True)
class Check:
    """A statement checked on cases: `differences` yields what contradicts it."""

    name: str
    source: str
    statement: str
    scope: str
    differences: Callable[[], Iterable[str]]

    def finding(self) -> Finding:
        """Check it and return what became of it."""
        return Finding(
            self.name, self.source, self.statement, self.scope, difference=first_difference(self.differences)
        )


def _named(monomial: Sequence[int]) -> str:
    """Return the monomial of these indices as text, x0 x0 x2."""
    return " ".join(f"x{i}" for i in monomial) or "1"


def _exponents(monomial: Sequence[int], size: int) -> tuple[int, ...]:
    return tuple(list(monomial).count(i) for i in range(size))


def _indices(exponents: Sequence[int]) -> tuple[int, ...]:
    return tuple(i for i, count in enumerate(exponents) for _ in range(count))


@cache
def _expanded(size: int, degree: int) -> dict[tuple[int, ...], int]:
    return expanded_power(size, degree)


def _same_monomials(size: int, degree: int, others: Iterable[tuple[int, ...]], whose: str) -> Iterator[str]:
    at = f"at d = {size}, p = {degree}"
    numeric = [_exponents(monomial, size) for monomial in basis.monomial_indices(size, degree)]
    known = set(others)
    for position, monomial in enumerate(numeric):
        if monomial not in known:
            yield f"{at}: {_named(_indices(monomial))} (position {position}) is not in {whose}"
        if numeric.index(monomial) != position:
            yield f"{at}: {_named(_indices(monomial))} stands at positions {numeric.index(monomial)} and {position}"
    for monomial in sorted(known - set(numeric), reverse=True):
        yield f"{at}: {_named(_indices(monomial))} of {whose} is missing in the numeric basis"


def _against_the_expansion() -> Iterator[str]:
    for size, degree in CASES:
        expansion = _expanded(size, degree)
        yield from _same_monomials(size, degree, expansion, "sympy's expansion")
        monomials, weights = basis.monomial_indices(size, degree), basis.multiplicities(size, degree)
        if len(weights) != len(monomials):
            yield f"at d = {size}, p = {degree}: {len(weights)} multiplicities for {len(monomials)} monomials"
        for position, (monomial, weight) in enumerate(zip(monomials, weights, strict=True)):
            coefficient = expansion[_exponents(monomial, size)]
            if weight != coefficient:
                yield (
                    f"at d = {size}, p = {degree}: {_named(monomial)} (position {position}) has multiplicity {weight},"
                    f" and the coefficient {coefficient} in sympy's expansion"
                )


def _against_itermonomials() -> Iterator[str]:
    for size, degree in CASES:
        yield from _same_monomials(size, degree, enumerated_monomials(size, degree), "sympy's itermonomials")


def _by_last_index() -> Iterator[str]:
    for size, degree in CASES:
        monomials = basis.monomial_indices(size, degree)
        ordered = sorted(combinations_with_replacement(range(size), degree), key=lambda m: m[::-1])
        for position, (ours, expected) in enumerate(zip(monomials, ordered, strict=True)):
            if ours != expected:
                yield f"at d = {size}, p = {degree}: {_named(ours)} at position {position}, not {_named(expected)}"
        below = [()] if degree == 0 else basis.monomial_indices(size, degree - 1)
        first = 0
        for j, length in enumerate(basis.slice_lengths(size, degree) if degree else []):
            if monomials[first : first + length] != [(*m, j) for m in below[:length]]:
                yield f"at d = {size}, p = {degree}: the slice of last index {j} is not x{j} times {length} monomials"
            first += length


def _positions() -> Iterator[str]:
    for size, degree in CASES:
        at = f"at d = {size}, p = {degree}"
        for position, monomial in enumerate(basis.monomial_indices(size, degree)):
            if basis.rank(monomial) != position:
                yield f"{at}: rank({_named(monomial)}) is {basis.rank(monomial)}, not {position}"
            if basis.unrank(position, degree) != monomial:
                yield f"{at}: unrank({position}) is {_named(basis.unrank(position, degree))}, not {_named(monomial)}"
            weight, single = _expanded(size, degree)[_exponents(monomial, size)], basis.multiplicity(monomial)
            if single != weight:
                yield f"{at}: multiplicity({_named(monomial)}) is {single}, not {weight}"
        for position, monomial in enumerate(combinations_with_replacement(range(size), degree)):
            found, back = basis.lexicographic_rank(monomial, size), basis.lexicographic_unrank(position, size, degree)
            if found != position or back != monomial:
                yield f"{at}: {_named(monomial)} is at {found} in the paper's order, and {_named(back)} at {position}"


def _inner_products() -> Iterator[str]:
    rng = np.random.default_rng(8)
    for size, degree in CASES:
        q, k = rng.integers(-9, 10, (2, size, 1)).astype(object)
        *_, of_q = basis.each_degree(q, degree)
        *_, of_k = basis.each_degree(k, degree)
        weights = basis.multiplicities(size, degree)
        total = sum(w * a * b for w, a, b in zip(weights, of_q[:, 0], of_k[:, 0], strict=True))
        expected = sum((q * k)[:, 0]) ** degree
        if total != expected:
            yield f"at d = {size}, p = {degree}: the weighted inner product of two features is {total}, not {expected}"
        if size**degree <= TENSOR_ELEMENTS:
            words = product(range(size), repeat=degree)
            tensor = sum(prod(int(q[i, 0]) for i in word) * prod(int(k[i, 0]) for i in word) for word in words)
            if tensor != expected:
                yield f"at d = {size}, p = {degree}: the sum over the tensor is {tensor}, not {expected}"


def _alphas() -> Iterator[str]:
    for size, degree in product(ALPHA_SIZES, ALPHA_DEGREES):
        text = str(basis.alpha(degree, size))
        numbers = re.fullmatch(r"1(?:/\(?(\d+)?(?: ?sqrt\((\d+)\))?\)?)?", text)
        whole, radicand = (int(number or 1) for number in (numbers.groups() if numbers else (0, 0)))
        if whole**2 * radicand != factorial(degree) ** 2 * size**degree:
            yield f"at d = {size}, p = {degree}: alpha_p is {text}, and 1 / alpha_p^2 = {whole**2 * radicand}"


def _monomial_table() -> Iterator[str]:
    for size, degree in CASES:
        expansion = _expanded(size, degree)
        papers = {m: i for i, m in enumerate(combinations_with_replacement(range(size), degree))}
        for position, row in enumerate(basis.monomial_table(size, degree)):
            expected = (position, papers[row.indices], expansion[_exponents(row.indices, size)])
            found = (row.position, row.lexicographic_position, row.multiplicity)
            if found != expected:
                yield f"at d = {size}, p = {degree}: {_named(row.indices)} is listed with {found}, not {expected}"


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
            row = cost.taylor_cost(size, order, given)
            value_size = size if given is None else given
            flops = sum((4 * value_size + 2 * degree + 4) * m for degree, m in enumerate(counted))
            state = (value_size + 1) * sum(counted)
            expected = constant | {
                "value_size": (value_size,),
                "state_elements": (state, cost.state_size(size, order, given)),
                "flops_per_token": (
                    flops,
                    int(FLOPS.subs({**symbols, d_v: value_size})),
                    cost.flops_per_token(size, order, given),
                ),
                "kv_break_even": (_nearest(state, size + value_size),),
                "flop_break_even": (_nearest(flops, 2 * size + 2 * value_size + 3),),
                "flop_break_even_script": (_nearest(flops, 6 * size) if value_size == size else None,),
            }
            for name, accounts in expected.items():
                found = getattr(row, name)
                for account in accounts:
                    if found != account:
                        yield (
                            f"at d = {size}, d_v = {value_size}, order {order}: {name} is {found} by the cost"
                            f" functions, {account} by counting or by the proved formula"
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


def _conventional() -> Iterator[str]:
    for n, size, given in product(*CONVENTIONAL):
        value_size = size if given is None else given
        for name, found, expected in (
            ("cache", cost.kv_cache_size(n, size, given), n * size + n * value_size),
            (
                "FLOPs",
                cost.conventional_flops_per_token(n, size, given),
                2 * n * size + 2 * n * value_size + 3 * n,
            ),
            ("FLOPs by the script", cost.script_flops_per_token(n, size), 6 * n * size),
            ("log-exp state", cost.logexp_state_size(size, given), size * value_size + size),
        ):
            if found != expected:
                yield f"at n = {n}, d = {size}, d_v = {value_size}: {name} {found}, not {expected}"
    for format_, count in product(FORMATS.values(), (1, 23, 1485)):
        stored = len(np.zeros(count, dtype=format_.dtype).tobytes())
        found = stored_bytes(count, format_)
        if found != stored:
            yield f"{count} numbers in {format_.name} take {stored} bytes, not {found}"


def _multihead() -> Iterator[str]:
    for width, size, order in product(*HEADS):
        at = f"at width {width}, d = {size}, order {order}"
        for given in (5, None):
            one = cost.taylor_cost(size, order, given)
            heads = len(range(0, width, size))
            state, flops = heads * one.state_elements, heads * one.flops_per_token
            expected = (width, heads, one, state, flops, width + one.value_size * heads)
            row = cost.multihead_cost(width, size, order, given)
            totals = row.total_state_elements, row.total_flops_per_token, row.kv_cache_per_token
            found = (row.width, row.heads, row.head, *totals)
            if found != expected:
                yield f"{at}: width, heads, one head, state, FLOPs and cache {found}, not {expected}"
        with contextlib.suppress(InvalidRequestError):
            yield f"{at}: width {width + 1} is taken for {cost.multihead_cost(width + 1, size, order).heads} heads"


def _counted() -> Iterator[str]:
    for case in COUNTED:
        at = f"at d, order, d_v = {case}"
        for name, counted, formula in (
            ("the packed form", counting.packed_parts, operations.as_packed),
            ("the method as published", counting.published_parts, operations.as_published),
        ):
            pairs = zip(counted(*case).in_order(), formula(*case).in_order(), strict=True)
            for part, (found, expected) in zip(operations.NAMES.in_order(), pairs, strict=True):
                if found != expected:
                    yield f"{at}: {part} of {name}: counted {found}, expected {expected}"
        charged, published = operations.charged(*case), cost.flops_per_token(*case)
        if sum(charged.in_order()) != published or charged.update != charged.read:
            yield f"{at}: {charged} of SA (14) do not add up to {published}, with as much to update as to read"
        for chunk in CHUNKS:
            own = counting.own_pair_operations(*case, chunk), operations.as_own_pairs(*case, chunk)
            if own[0] != own[1]:
                yield f"{at}: own pairs of a chunk of {chunk}: counted {own[0]}, expected {own[1]}"


def _counted_softmax() -> Iterator[str]:
    for case in SOFTMAX_COUNTED:
        found, expected = counting.softmax_operations(*case), operations.as_softmax(*case)
        if found != expected:
            yield f"at n, d, d_v = {case}: counted {found}, expected {expected}"
        published = cost.conventional_flops_per_token(*case)
        if found.flops != published - 1:
            yield f"at n, d, d_v = {case}: {found.flops} counted, and {published} published"


CHECKS = (
    Check(
        "expansion",
        "SA (5), (8)",
        "the numeric basis and its multiplicities are the monomials and coefficients of sympy's (q.k)^p, one by one",
        CASES_SCOPE,
        _against_the_expansion,
    ),
    Check(
        "enumeration",
        "SA (7)",
        "the numeric basis is the set that sympy's itermonomials enumerates",
        CASES_SCOPE,
        _against_itermonomials,
    ),
    Check(
        "order of the basis",
        "ours, of SA (10), (11)",
        "monomials stand by their last index, each degree as slices of the one below times one variable",
        CASES_SCOPE,
        _by_last_index,
    ),
    Check(
        "positions",
        "SA (7), (8)",
        "ranking, unranking, the paper's lexicographic order and single multiplicities agree with the lists",
        CASES_SCOPE,
        _positions,
    ),
    Check(
        "lists of monomials",
        "SA (7), (8)",
        "the list that is shown has every position, the paper's position and the multiplicity right",
        CASES_SCOPE,
        _monomial_table,
    ),
    Check(
        "inner product of the numeric features",
        "SA (4)-(6), (8)",
        "<Phi_p(q), Phi_p(k)> weighted by C_p is (q.k)^p, as is the sum over the tensor's d^p elements (up to"
        " 4096 of them), in random integers",
        CASES_SCOPE,
        _inner_products,
    ),
    Check(
        "alpha_p",
        "SA (3)",
        "alpha_p = 1 / (p! c^p) with c = sqrt(d): alpha_p^2 = 1 / (p!^2 d^p) exactly",
        f"checked for d in {_listed(ALPHA_SIZES)}, p <= {ALPHA_DEGREES[-1]}",
        _alphas,
    ),
    Check(
        "costs",
        "SA (7), (12)-(15)",
        "features, state, FLOPs and break-even contexts are those of listed monomials and of the formulas proved above",
        COST_SCOPE,
        _costs,
    ),
    Check(
        "conventional costs",
        "SA sections 2.6, 2.7; LE (6)",
        "as published: cache n (d_k + d_v), FLOPs n (2 d_k + 2 d_v + 3) or 6 n d, log-exp state d_k (d_v + 1), bytes of"
        " every format",
        "checked for n in {}, d in {}, d_v in {}".format(*map(_listed, CONVENTIONAL)).replace("None", "d"),
        _conventional,
    ),
    Check(
        "heads at fixed width",
        "SA (13), (15)",
        "W/d heads cost W/d times one head, with d_v = d and d_v = 5; a width that is no multiple is refused",
        "checked for W in {}, d in {}, N in {}".format(*map(_listed, HEADS)),
        _multihead,
    ),
    Check(
        "ranks at random points",
        "SA (7), (9)",
        "(q.k)^p and the exponential cut after p have the ranks proved above at random integer points too",
        f"checked for (d, p) in {_listed(RANK_CASES)}",
        random_ranks,
    ),
    Check(
        "operations of Taylor attention",
        "SA (14), (15), A1, A2",
        "what the packed form and the method as published execute, counted, is what the account of their parts says",
        f"checked for (d, N, d_v) in {_listed(COUNTED)}, causal chunks of {_listed(CHUNKS)}",
        _counted,
    ),
    Check(
        "operations of conventional attention",
        "SA section 2.7",
        "n (2 d_k + 2 d_v + 3) - 1 FLOPs executed, counted, and n + 1 comparisons",
        f"checked for (n, d, d_v) in {_listed(SOFTMAX_COUNTED)}",
        _counted_softmax,
    ),
)
