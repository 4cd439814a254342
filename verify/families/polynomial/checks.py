"""The numeric basis against what sympy derives, lists of the standard library, and exact integers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import combinations_with_replacement, product
from math import factorial, prod

import numpy as np

from verify.families.polynomial import basis
from verify.proofs.expansion import enumerated_monomials, expanded_power
from verify.proofs.finding import Check, listed
from verify.proofs.minimality import CASES as RANK_CASES
from verify.proofs.minimality import random_ranks

SMALL = 6


LARGER = ((16, 3), (8, 5), (2, 24), (3, 21))


CASES = (*product(range(1, SMALL + 1), range(SMALL + 1)), *LARGER)


CASES_SCOPE = f"checked for d <= {SMALL}, p <= {SMALL} and {listed(LARGER)}"


TENSOR_ELEMENTS = 4096


ALPHA_SIZES, ALPHA_DEGREES = (1, 2, 4, 8, 64, 128), range(16)


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
        f"checked for d in {listed(ALPHA_SIZES)}, p <= {ALPHA_DEGREES[-1]}",
        _alphas,
    ),
    Check(
        "ranks at random points",
        "SA (7), (9)",
        "(q.k)^p and the exponential cut after p have the ranks proved above at random integer points too",
        f"checked for (d, p) in {listed(RANK_CASES)}",
        random_ranks,
    ),
)
