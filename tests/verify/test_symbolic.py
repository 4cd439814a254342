from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations_with_replacement
from math import comb
from typing import Any

import numpy as np
import pytest
import sympy
from sympy import binomial

from verify.proofs import PROOFS, Proof, enumerated_monomials, expanded_power
from verify.proofs.identities import FEATURES, FLOPS
from verify.proofs.minimality import gram_rank, kernel_rank, node, power, rank_of, truncated_exponential, vandermonde
from verify.proofs.proof import Argument, Equality, Limit, N, Positive, d, d_v, e, p, plain, sum_by_induction


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_every_proof_stands(proof: Proof) -> None:
    finding = proof.finding()
    assert finding.difference is None
    assert finding.scope.startswith("proved for all ")
    assert len(finding.steps) == len(proof.steps) > 0
    assert all(step.endswith("]") for step in finding.steps)


def contradicted() -> Iterator[str]:
    yield from (f"at d = {size}" for size in (1, 2))


GRID_BLIND = d + (d - 1) * (d - 2) * (d - 3) * (d - 4)  # d at every point of the grid, and nowhere else

WRONG_STEPS = {
    "unequal": (Equality("", binomial(d + p, p), binomial(d + p - 1, p)), "is 2 .* is 1 at d = 1, p = 1"),
    "unequal beyond the grid": (Equality("", GRID_BLIND, d), "sympy leaves"),
    "unequal where a variable is fixed": (Equality("", binomial(d + p, p), d, ((p, 1),)), "at p = 1, d = 1"),
    "not a number": (Equality("", sympy.nan * d, d), "nan"),
    "not a number on both sides": (
        Equality("", (d - 1) * (d - 2) / (d**2 - 3 * d + 2), (d - 1) * (d - 2) / (d**2 - 3 * d + 2)),
        "nan",
    ),
    "infinite on both sides": (Equality("", 1 / (d - 1), (d + 1) / (d**2 - 1)), "zoo|oo"),
    "a pole beyond the grid": (Equality("", (p**2 - 49) / (p - 7), p + 7), "p - 7 in .* may be zero"),
    "gamma functions that meet poles": (
        Equality("", binomial(4 - d, e), binomial(4 - d, 4 - d - e)),
        "may have a pole|is 1 and .* is 0|sympy leaves",
    ),
    "a factorial of what may be negative": (
        Equality("", sympy.gamma(d - 5), (d - 6) * sympy.gamma(d - 6)),
        "zoo|may have a pole",
    ),
    "another limit": (Limit("", (d + p) / d, d, sympy.Integer(2)), "the limit is 1 and not 2"),
    "a limit that depends on a parameter": (Limit("", N * d / (N * d + 1), d, sympy.Integer(1)), "N of .* may vanish"),
    "a limit for all but one parameter": (
        Limit("", ((N - 7) * d + 1) / ((N - 7) * d + 2), d, sympy.Integer(1)),
        "may vanish",
    ),
    "no limit": (Limit("", d**2 / (d + 1), d, sympy.Integer(1)), "the limit is oo"),
    "not positive": (Positive("", d**2 - 3 * d + 3, ((d, 1),)), r"coefficient of d\^1 .* is -1"),
    "zero": (Positive("", d - 1, ((d, 1),)), r"coefficient of d\^0 .* is 0, not positive"),
    "negative where zero is allowed": (Positive("", d - 2, ((d, 1),), zero=True), r"coefficient of d\^0 .* is -1"),
    "infinite coefficients": (Positive("", sympy.oo * d + 1, ((d, 1),)), "no polynomial|rational"),
    "an argument with a counter-example": (Argument("", "", contradicted), "at d = 1"),
    "an argument that cannot be tried": (Argument("", "", lambda: [str(1 // 0)]), "ZeroDivisionError"),
}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("step", "message"), WRONG_STEPS.values(), ids=WRONG_STEPS.keys())
def test_a_wrong_step_fails_its_proof(step: Equality | Limit | Positive | Argument, message: str, place: int) -> None:
    right = Equality("", d, d)
    steps: list[Any] = [right, right]
    steps.insert(place, step)
    finding = Proof("name", "source", "statement", tuple(steps)).finding()
    assert not finding.holds
    assert finding.scope == "not proved"
    assert finding.difference is not None
    assert finding.difference.startswith(f"step {place + 1}: ")
    assert re.search(message, finding.difference), finding.difference


def test_a_proof_without_steps_proves_nothing() -> None:
    assert Proof("name", "source", "statement", ()).finding().difference == "there are no steps"


def test_right_steps_of_every_kind() -> None:
    for step in (
        Equality("", binomial(d + p, p), binomial(d + p, d)),
        Limit("", (2 * d + p) / (d + 1), d, sympy.Integer(2)),
        Limit("", (d + p) / (d**2 + 1), d, sympy.Integer(0)),
        Positive("", d**2 - 2 * d + 1, ((d, 1),), zero=True),
        Positive("", d - 1, ((d, 2),)),
    ):
        assert list(step.differences()) == []


def test_arguments_are_not_passed_off_as_checked() -> None:
    steps = (Equality("", d, d), Argument("words", "nowhere", lambda: ()))
    assert Proof("", "", "", steps).finding().scope == "proved for all d, p; step 2 in words, tried on cases"
    assert Proof("", "", "", steps[:1], "d").finding().scope == "proved for all d"


def test_a_term_that_changes_with_the_last_one_is_refused() -> None:
    # sum over p <= N of (N - p) is not -N, though base and step would go through
    with pytest.raises(ValueError, match="changes with N"):
        sum_by_induction(N - p, -N)


def test_a_slip_of_sympy_is_caught_on_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sympy, "gammasimp", lambda expression: sympy.Integer(0))
    wrong = Equality("", binomial(d + p, p), binomial(d + p + 1, p))
    assert any("at d = 1, p = 1" in difference for difference in wrong.differences())


def test_a_sum_with_order_and_terms_confused_is_not_proved() -> None:
    # C(d + 4, 4) "for P = 4", as two public derivatives print it
    base, step = sum_by_induction(binomial(d + p - 1, p), binomial(d + N + 1, N + 1))
    assert "at N = 0, d = 1" in next(base.differences())
    assert "at N = 0, d = 2" in next(step.differences())


def test_the_formulas_at_integers() -> None:
    for size, order, value_size in ((1, 0, 1), (5, 3, 2), (8, 3, 8), (64, 3, 64)):
        degrees = [comb(size + degree - 1, degree) for degree in range(order + 1)]
        assert FEATURES.subs({d: size, N: order}) == sum(degrees)
        flops = sum((4 * value_size + 2 * degree + 4) * m for degree, m in enumerate(degrees))
        assert FLOPS.subs({d: size, N: order, d_v: value_size}) == flops


@pytest.mark.parametrize(("size", "degree"), [(1, 0), (1, 4), (4, 0), (3, 3), (8, 5), (16, 3)])
def test_sympy_enumerates_what_it_expands(size: int, degree: int) -> None:
    expanded = expanded_power(size, degree)
    assert set(expanded) == enumerated_monomials(size, degree)
    listed = combinations_with_replacement(range(size), degree)
    assert set(expanded) == {tuple(m.count(i) for i in range(size)) for m in listed}
    assert sum(expanded.values()) == size**degree


def test_ranks_are_exact() -> None:
    # Hilbert's matrix is regular, and floating point says otherwise
    hilbert = [[Fraction(1, i + j + 1) for j in range(20)] for i in range(20)]
    assert rank_of(hilbert) == 20
    assert np.linalg.matrix_rank([[float(x) for x in row] for row in hilbert]) < 20
    assert rank_of([[1, 2], [2, 4]]) == 1
    assert rank_of([[10**40, 10**40 + 1], [10**40 + 1, 10**40 + 2]]) == 2
    assert rank_of(vandermonde([2, 3, 5, 7])) == 4
    assert rank_of(vandermonde([2, 3, 3])) == 2
    assert gram_rank([[1, 2], [2, 4]], [Fraction(1)] * 2) == 1
    assert node((0, 0, 2)) == 20
    assert kernel_rank(3, power(4), comb(6, 4)) == comb(6, 4)
    assert kernel_rank(3, power(4), comb(6, 4) - 3) == comb(6, 4)  # a rank above what is expected shows
    assert kernel_rank(2, truncated_exponential(3, Fraction(1, 2)), comb(5, 3)) == comb(5, 3)


def test_plain_text() -> None:
    assert plain(binomial(d + p - 1, p) * d**2) == "d^2*C(d + p - 1, p)"
