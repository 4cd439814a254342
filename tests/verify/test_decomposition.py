"""Parts of errors add up to the total: exactly, element by element."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.cases import PROBLEMS
from verify.attention import named_form
from verify.measure.decomposition import Decomposer, Truths
from verify.numbers.arithmetic import ARITHMETICS
from verify.problem import Problem

CASES = [("softmax", "softmax", None), ("logexp", "quadratic", None), *[("taylor", "scores", p) for p in (0, 3, 6)]]


def decomposers(problem: Problem, arithmetic: str) -> Decomposer:
    truths = Truths(problem, (0, 3, 6))
    rounded = problem.rounded(ARITHMETICS[arithmetic].inputs)
    return Decomposer(truths, truths if rounded is problem else Truths(rounded, (0, 3, 6)))


@pytest.mark.parametrize("arithmetic", ["float64", "float32", "bfloat16+float32", "float8_e4m3fn+float32"])
@pytest.mark.parametrize("problem", [PROBLEMS[0], PROBLEMS[3], PROBLEMS[6], PROBLEMS[7]], ids=lambda p: p.name)
def test_parts_add_up_exactly(problem: Problem, arithmetic: str) -> None:
    decomposer = decomposers(problem, arithmetic)
    for mechanism, form, order in CASES:
        output = named_form(mechanism, form).run(problem, ARITHMETICS[arithmetic], order)
        found = decomposer.of(output.value, mechanism, order)
        exact = found.exactly()
        names = {"rounding", "quantisation", "total"}
        names |= {"taylor": {"truncation"}, "logexp": {"deviation"}, "softmax": set()}[mechanism]
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
    found = Decomposer(Truths(problem, (1,)), Truths(problem, (1,))).of(np.array([[3.0]]), "taylor", 1)
    parts = found.exactly()
    assert np.isnan(float(parts["truncation"][0, 0]))
    assert np.isnan(float(parts["rounding"][0, 0]))
    assert float(parts["total"][0, 0]) == 0.0
    assert not np.isfinite(found.parts["truncation"].error).any()


def test_an_answer_of_nan_stays_one() -> None:
    problem = PROBLEMS[0]
    found = decomposers(problem, "float64").of(np.full(problem.output_shape, np.nan), "taylor", 3)
    assert np.isnan(found.parts["total"].error).all()
    assert np.isnan(found.parts["rounding"].error).all()
    assert np.isfinite(found.parts["truncation"].error).all()
    assert np.isnan(float(found.exactly()["total"][0, 0]))
