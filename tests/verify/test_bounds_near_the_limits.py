"""Bounds where formats end: what underflow takes, and where something overflows.

Each case loses far more to underflow than to all other roundings, so that a bound that forgets it is exceeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.cases import FORMS, variant
from verify.attention import Member, Variant
from verify.families import PolynomialKernel
from verify.measure.metrics import computed_error
from verify.mechanisms import named_variant
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.problem import Problem
from verify.truth import reference

F16, NARROW = ARITHMETICS["float16"], ARITHMETICS["float16+float32"]


def share(chosen: Variant, problem: Problem, arithmetic: Arithmetic) -> float:
    """Return the largest part of its bound that an error reaches; all bounds have to be finite."""
    assert problem.rounded(arithmetic.inputs) is problem  # or it is another problem that is computed
    exact = reference(problem, 30, chosen.member)
    bound = chosen.rounding_bound(problem, exact.value, arithmetic)
    assert bound is not None
    assert np.isfinite(bound.sure).all()
    error = computed_error(chosen.run(problem, arithmetic).value, exact)
    reached = float((np.abs(error) / bound.sure).max())
    assert reached <= 1
    return reached


def held(values: Any, arithmetic: Arithmetic) -> Any:
    return arithmetic.inputs.rounded(np.asarray(values, np.float64)).astype(np.float64)


# exp(-17.34) is a bit less than 2^-25, and counts by itself: the first v is 0, and the mean of all as well
LOST_K = held([[0.0], [-17.34375], [-100.0]], NARROW)
LOST_V = held([[0.0], [60000.0], [-60000.0]], NARROW)


@pytest.mark.parametrize("name", ["softmax/softmax", "softmax/online", "logexp/quadratic", "logexp/stream"])
def test_weights_below_half_the_smallest_factor_are_lost(name: str) -> None:
    q = 1.0 if name.startswith("softmax") else 0.0
    problem = Problem([[q]], LOST_K, LOST_V, scale=1.0)
    chosen = named_variant(name)
    assert chosen.run(problem, NARROW).value == 0
    # half the smallest number is lost of one weight; the bound takes two of it from both, and two more in the stream,
    # where a weight is a product and either factor may be lost
    assert 0.5 / 4 / (2 if name == "logexp/stream" else 1) * 0.9 <= share(chosen, problem, NARROW) <= 0.13


def test_weights_of_a_causal_chunk_that_are_lost() -> None:
    problem = Problem(np.zeros((3, 1)), LOST_K, LOST_V, causal=True)
    chosen = named_variant("logexp/stream")
    assert (chosen.run(problem, NARROW).value == 0).all()
    # 2^-8 roundoffs of the largest weight come on top, 2^-19 for either key: 2^6 times half the smallest number
    assert share(chosen, problem, NARROW) >= 0.004


@pytest.mark.parametrize("form", ["packed", "stream"])
def test_features_that_are_lost_are_multiplied_by_the_other_sides(form: str) -> None:
    # q^2 / 2 is below 2^-25 and k^2 nearly 2^15: the term of degree 2 is gone, 2^-11 of the weights of two keys, whose
    # v cancel with that of a third but for it.  Roundings take 2^-11 of the term of degree 1, which is 2^-5
    q, k = held([[2.0**-12.55]], NARROW), held([[180.0], [-180.0], [0.0]], NARROW)
    problem = Problem(q, k, [[30000.0], [30000.0], [-60000.0]], scale=1.0)
    assert NARROW.factors.rounded(q * NARROW.factors.rounded(q / 2).astype(float)) == 0
    # the bound allows for 36 steps, each of which may lose twice as much
    assert share(variant("taylor", form, 2), problem, NARROW) >= 0.002


@pytest.mark.parametrize("name", ["softmax/softmax", "taylor:order=2/scores"])
def test_products_of_a_logit_that_are_lost_before_it_is_scaled(name: str) -> None:
    # 32 products of 2^-25, each of which becomes 0, times 2^15: a logit of 2^-5 is lost, of which a part 33 2^-11 =
    # 2^-6 may be lost by rounding
    q, k = np.full((1, 32), 2.0**-13), np.full((2, 32), 2.0**-12)
    k[1] = 0
    problem = Problem(q, k, [[1.0], [-1.0]], scale=2.0**15)
    assert named_variant(name).run(problem, F16).value == 0
    # 33 smallest numbers of factors and sums, twice as much as 32 halves of them, and both keys count
    assert share(named_variant(name), problem, F16) >= 0.05


class Quartic(PolynomialKernel):
    """1 + 2^-26 s^4: float16 has no such coefficient."""

    name, description, source = "quartic", "a small fourth power", "tests"

    def coefficients(self, member: Member) -> Sequence[Fraction]:
        return [Fraction(1), Fraction(0), Fraction(0), Fraction(0), Fraction(1, 2**26)]


def test_a_coefficient_that_is_lost_is_multiplied_by_its_power() -> None:
    # s = 40: s^4 / 2^26 = 0.038 of the weight is gone, and roundings take 2^-11 each
    problem = Problem([[40.0]], [[1.0], [0.0]], [[1.0], [-1.0]], scale=1.0)
    chosen = Variant(Quartic().member(), "scores")
    assert chosen.run(problem, F16).value == 0
    assert share(chosen, problem, F16) >= 0.02


@pytest.mark.parametrize("form", ["packed", "stream"])
def test_values_that_are_lost_are_multiplied_by_features(form: str) -> None:
    # k v = 2^-26 is lost, and q = 2^10 would have made it large again
    problem = Problem([[1000.0]], [[2.0**-12]] * 2, [[2.0**-14]] * 2, scale=1.0)
    assert share(variant("taylor", form, 1), problem, F16) >= 0.01


# Which number grows: what it does to products, features, sums and outputs differs from form to form.
GROWING = {
    "q": lambda x: Problem([[x]], [[1.0], [0.5]], [[1.0], [0.5]], scale=1.0),
    "k": lambda x: Problem([[1.0]], [[x], [0.5 * x]], [[1.0], [0.5]], scale=1.0),
    "v": lambda x: Problem([[1.0]], [[1.0]] * 8, [[x]] * 8, scale=1.0),
    "products": lambda x: Problem([[x**0.5] * 4], [[x**0.5] * 4] * 2, [[1.0], [0.5]], scale=2.0**-12),
}


@pytest.mark.parametrize("arithmetic", [F16, NARROW], ids=lambda found: found.name)
@pytest.mark.parametrize("growing", GROWING)
@pytest.mark.parametrize(
    "name",
    [
        *(
            f"{mechanism}:order=2/{form}" if mechanism == "taylor" else f"{mechanism}/{form}"
            for mechanism, form in FORMS
        ),
        *("power/scores", "power/stream", "elu/pairs", "elu/stream", "favor:features=2/pairs", "mean/pairs"),
    ],
)
def test_what_overflows_has_no_bound(name: str, growing: str, arithmetic: Arithmetic) -> None:
    chosen = named_variant(name)
    bounded = []
    for exponent in (0, 5, 10, 12, 13, 14, 15):
        problem = GROWING[growing](2.0**exponent).rounded(arithmetic.inputs)
        exact = reference(problem, 25, chosen.member)
        bound = chosen.rounding_bound(problem, exact.value, arithmetic)
        assert bound is not None
        error = np.abs(computed_error(chosen.run(problem, arithmetic).value, exact))
        assert not (~(error <= bound.sure) & np.isfinite(bound.sure)).any(), exponent
        bounded.append(bool(np.isfinite(bound.sure).all()))
    # no bound that says nothing: ordinary numbers have one
    assert any(bounded)
