"""What families derive from a formula, whatever it is: bounds that hold, and counts of what runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verify.attention.contract import Member
from verify.attention.variant import Variant
from verify.conformance.mechanism import findings_of
from verify.errors import CertificationError, UndefinedWeightsError
from verify.families import FeatureKernel, LogitKernel, PolynomialKernel
from verify.families.tracked import TrackedField
from verify.mechanisms.registry import named_member, named_variant
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.counted import Counted, Operations, Tally
from verify.numbers.fields import Field, Number
from verify.numbers.formats import FORMATS
from verify.problem import Problem
from verify.truth import certify, reference


class Function(LogitKernel):
    """A function of the logit that is given."""

    name, description, source = "function", "a function of the logit", "tests"

    def __init__(self, g: Callable[[Any, Any], Any]) -> None:
        self.g = g

    def function(self, f: Field, s: Number, member: Member) -> Number:
        return self.g(f, s)


class Features(FeatureKernel):
    """Features that are given."""

    name, description, source = "features", "features", "tests"

    def __init__(self, phi: Callable[[Any, Any], list[Any]], more: int = 0) -> None:
        self.phi, self.more = phi, more

    def features(self, f: Field, x: Sequence[Number], scale: Number, member: Member) -> list[Number]:
        return self.phi(f, x)

    def feature_count(self, head_size: int, member: Member) -> int:
        return head_size + self.more


class Odd(PolynomialKernel):
    """A polynomial that changes sign, with a power left out."""

    name, description, source = "odd", "s - s^3 / 3", "tests"

    def coefficients(self, member: Member) -> list[Fraction]:
        return [Fraction(0), Fraction(1), Fraction(0), Fraction(-1, 3)]


def unit(f: Any, x: Any) -> list[Any]:
    length = f.sqrt(f.dot(x, x))
    return [1, *(c / length for c in x)]


def softmax_of(f: Any, x: Any) -> list[Any]:
    top = f.largest(x)
    exponentials = [f.exp(c - top) for c in x]
    return [e / f.sum(exponentials) for e in exponentials]


FORMULAS = {
    "s": Function(lambda f, s: s),
    "1 + s": Function(lambda f, s: 1 + s),
    "exp(s) - 1": Function(lambda f, s: f.exp(s) - 1),
    "max(s, 0)^2": Function(lambda f, s: f.positive(s) ** 2),
    "s + sqrt(1 + s^2)": Function(lambda f, s: s + f.sqrt(1 + s * s)),
    "1/3 + s^2 / 7": Function(lambda f, s: f.ratio(Fraction(1, 3)) + s * s * f.ratio(Fraction(1, 7))),
    "x": Features(lambda f, x: list(x)),
    "max(x, 0)": Features(lambda f, x: [f.positive(c) for c in x]),
    "1 and x / |x|": Features(unit, more=1),
    "softmax of x": Features(softmax_of),
    "s - s^3 / 3": Odd(),
}


@pytest.mark.parametrize("formula", FORMULAS)
def test_any_formula_has_exact_values_and_bounds_that_hold(formula: str) -> None:
    checks = ("exact values", "weights", "forms", "rounding bounds", "formula bound", "costs")
    findings = list(findings_of(FORMULAS[formula], cells=14, only=checks))
    assert [finding.difference for finding in findings] == [None] * (1 + len(checks))


def test_weights_of_both_signs_leave_outputs_without_a_bound() -> None:
    problem = Problem([[1.0]], [[1.0], [-0.9]], [[1.0], [2.0]], scale=1.0)
    member = FORMULAS["s"].member()
    (distance,) = reference(problem, 20, member).value.ravel() - reference(problem, 20).value.ravel()
    assert abs(distance) > 9  # ten times as far as the values are apart
    assert FORMULAS["s"].formula_bound(problem, member) == np.inf
    # zero everywhere: there is no output, and nothing to bound
    nothing = Problem([[0.0]], [[1.0], [2.0]], [[1.0], [2.0]])
    power = named_member("power")
    assert power.mechanism.formula_bound(nothing, power) == np.inf


def test_roots_of_what_may_come_out_below_zero_have_no_bound() -> None:
    arithmetic, root = ARITHMETICS["bfloat16"], Function(lambda f, s: f.sqrt(1 + s))
    variant, rng, undefined = Variant(root.member(), "pairs"), np.random.default_rng(61), 0
    for _ in range(400):
        d = int(rng.integers(1, 6))
        q, k = rng.standard_normal((2, 1, d))
        k *= -np.sqrt(d) / (q @ k.T) * (1 - rng.integers(0, 4) * 2.0**-8)  # logits near -1
        problem = Problem(q, np.concatenate([k, 0 * k]), [[1.0], [2.0]]).rounded(arithmetic.inputs)
        try:
            exact = reference(problem, 20, root.member()).value
        except (CertificationError, UndefinedWeightsError):
            continue
        bound = variant.rounding_bound(problem, exact, arithmetic)
        assert bound is not None
        if np.isnan(variant.run(problem, arithmetic).value.astype(float)).any():
            assert np.isinf(bound.sure).all()
            undefined += 1
    assert undefined > 3


def test_what_is_sure_not_to_be_below_zero_keeps_its_roots() -> None:
    field = TrackedField(FORMATS["float16"], 2.0**-24)
    x = field.number(np.array([0.0, 1e-3]), 1e-3)
    squares: list[Any] = [x * x, x**2, x * x + 1, field.positive(x), field.exp(x), 2 * (x * x)]
    assert all(np.isfinite(field.sqrt(square).error).all() for square in squares)
    signed: list[Any] = [x, x + 1 - 1, -(x * x), x * x * x]
    with np.errstate(invalid="ignore"):
        assert all(np.isinf(field.sqrt(number).error[0]) for number in signed)


def test_bounds_of_a_state_that_has_seen_nothing() -> None:
    problem = Problem(np.ones((2, 3)), np.zeros((0, 3)), np.zeros((0, 2)))
    bound = named_variant("elu/stream").rounding_bound(problem, np.zeros((2, 2)), ARITHMETICS["float32"])
    assert bound is not None
    assert (bound.sure == 0).all()


def test_signs_are_free_and_roots_are_counted_as_divisions() -> None:
    tally = Tally()
    assert float(-Counted(4.0, tally)) == -4.0
    assert float(np.sqrt(np.array([Counted(4.0, tally)], dtype=object))[0]) == 2.0
    assert tally.taken() == Operations(divisions=1)


def test_operations_of_features_with_positive_parts() -> None:
    elu = named_member("elu")
    problem = Problem(*np.ones((3, 4, 2)))
    # of q and k, each of two components: max(x, 0), max(-x, 0), exp, +; S and z are 2 times 3 numbers
    expected = Operations(multiplications=12, additions=4 + 12, divisions=2, exponentials=4, comparisons=8)
    form = elu.mechanism.form("stream")
    assert form.operations is not None
    assert form.operations(problem, elu) == expected
    assert form.cost(problem, elu).flops_per_token == expected.flops


def test_mpmath_keeps_what_is_added_to_one() -> None:
    problem = Problem([[1e-300]], [[1.0], [2.0]], [[1.0], [-1.0]], scale=1.0)
    assert certify(problem, 50, "taylor:order=1").elements == 1
    assert certify(problem, 50, FORMULAS["exp(s) - 1"].member()).elements == 1
