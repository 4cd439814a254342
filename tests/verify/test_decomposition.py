"""Parts of errors add up to the total: exactly, element by element."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from mpmath import mp

from tests.cases import PROBLEMS, named, run
from verify.measure.decomposition import Decomposer, Truths
from verify.mechanisms import named_member
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.precision import mpmath_precision
from verify.problem import Problem

CASES = [("softmax", "softmax", None), ("logexp", "quadratic", None), *[("taylor", "scores", p) for p in (0, 3, 6)]]
CASES += [("power", "scores", None), ("elu", "pairs", None)]


def decomposers(problem: Problem, arithmetic: str) -> Decomposer:
    members = [TAYLOR.member(order=order) for order in (0, 3, 6)]
    truths = Truths(problem, members)
    rounded = problem.rounded(ARITHMETICS[arithmetic].inputs)
    return Decomposer(truths, truths if rounded is problem else Truths(rounded, members))


@pytest.mark.parametrize("arithmetic", ["float64", "float32", "bfloat16+float32", "float8_e4m3fn+float32"])
@pytest.mark.parametrize("problem", [PROBLEMS[0], PROBLEMS[3], PROBLEMS[6], PROBLEMS[7]], ids=lambda p: p.name)
def test_parts_add_up_exactly(problem: Problem, arithmetic: str) -> None:
    decomposer = decomposers(problem, arithmetic)
    for mechanism, form, order in CASES:
        output = run(mechanism, form, problem, ARITHMETICS[arithmetic], order)
        found = decomposer.of(output.value, named_member(named(mechanism, order)))
        exact = found.exactly()
        names = {"rounding", "quantisation", "total"}
        names |= {"formula"} if mechanism != "softmax" else set()
        assert set(exact) == set(found.parts) == names
        for place in np.ndindex(problem.output_shape):
            parts = {name: part[place] for name, part in exact.items()}
            if not np.isfinite(float(output.value[place])):
                assert np.isnan(float(parts["total"]))
                continue
            assert all(isinstance(part, Fraction) for part in parts.values())
            assert sum(parts[name] for name in names - {"total"}) == parts["total"]
            for name, part in parts.items():
                # 30 bits by root mean square; a total or rounding error carries 53
                shown = float(found.parts[name].error[place])
                size = float(np.nanmax(np.abs(found.parts[name].error)))
                assert abs(Fraction(shown) - part) <= Fraction(size) * Fraction(1, 2**28) + Fraction(1, 10**60)


def test_a_value_that_does_not_exist_has_no_exact_parts() -> None:
    problem = Problem([[1.0]], [[-1.0]], [[3.0]], scale=1.0)  # Z = 0 at order 1
    member = TAYLOR.member(order=1)
    found = Decomposer(Truths(problem, [member]), Truths(problem, [member])).of(np.array([[3.0]]), member)
    parts = found.exactly()
    assert np.isnan(float(parts["formula"][0, 0]))
    assert np.isnan(float(parts["rounding"][0, 0]))
    assert float(parts["total"][0, 0]) == 0.0
    assert not np.isfinite(found.parts["formula"].error).any()


def test_an_answer_of_nan_stays_one() -> None:
    problem = PROBLEMS[0]
    found = decomposers(problem, "float64").of(np.full(problem.output_shape, np.nan), TAYLOR.member(order=3))
    assert np.isnan(found.parts["total"].error).all()
    assert np.isnan(found.parts["rounding"].error).all()
    assert np.isfinite(found.parts["formula"].error).all()
    assert np.isnan(float(found.exactly()["total"][0, 0]))


def test_a_row_without_a_value_leaves_the_others_theirs() -> None:
    # P_3(-1) + P_3(-2) = 0 in the first row; P_3(-1/2) = 29/48 and P_3(-1) = 16/48 in the second, of values 1 and 2
    problem = Problem([[1.0], [0.5]], [[-1.0], [-2.0]], [[1.0], [2.0]], scale=1.0)
    truths = Truths(problem, [TAYLOR.member(order=3)])
    gap, doubt = Decomposer(truths, truths).gaps(TAYLOR.member(order=3))["formula"]
    assert np.isnan(gap[0, 0])
    with mpmath_precision(200):
        exact = mp.mpf(16) / 45 - 1 / (1 + mp.exp(0.5))
        assert abs(gap[1, 0] - exact) <= doubt[1, 0] < 2.0**-30 * abs(exact)


def test_differences_below_all_digits_are_nothing() -> None:
    # logits of 1/100 cut after the power 50: off by 1e-102 / 51!, some 1e-168, where the exact values' last digits end
    # at about 1e-150; what those leave is no difference
    rng = np.random.default_rng(48)
    problem = Problem(rng.uniform(0.5, 1.0, (2, 3)) / 100, rng.uniform(0.5, 1.0, (4, 3)), rng.standard_normal((4, 2)))
    truths = Truths(problem, [TAYLOR.member(order=50)])
    gap, doubt = Decomposer(truths, truths).gaps(TAYLOR.member(order=50))["formula"]
    assert (gap == 0.0).all()
    assert (doubt > 1e-168).all()
    assert (doubt < 1e-120).all()
    # nor does a row without a value become one: P_3(-1) + P_3(-2) = 0, and P_3(s) misses s^4 / 24, some 1e-170
    problem = Problem([[1.0], [1e-42]], [[-1.0], [-2.0]], [[1.0], [2.0]], scale=1.0)
    truths = Truths(problem, [TAYLOR.member(order=3)])
    gap, doubt = Decomposer(truths, truths).gaps(TAYLOR.member(order=3))["formula"]
    assert np.isnan(gap[0, 0])
    assert gap[1, 0] == 0.0
    assert 1e-170 < doubt[1, 0] < 1e-120
