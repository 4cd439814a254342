"""What goes wrong in a state is told: saturated inputs, underflow, sums that are no positive number."""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import Any

import numpy as np
import pytest

import verify
from tests.cases import run
from verify.attention.hazards import Hazards
from verify.attention.operands import operands
from verify.numbers.arithmetic import ARITHMETICS
from verify.problem import Problem


def taylor(order: int = 3, head_size: int = 4, value_size: int = 3, **options: Any) -> verify.TaylorState:
    return verify.TaylorState(head_size, value_size, order, **options)


def test_a_run_without_hazards_has_none() -> None:
    assert not Hazards()
    assert set(astuple(Hazards())) == {0}
    assert all(Hazards(**{field.name: 1}) for field in fields(Hazards))
    assert not taylor(1, 1, 1).hazards


def test_no_denominator_and_infinite_sums_are_hazards() -> None:
    state = taylor(1, 1, 1, scale=1.0)
    state.update([[-1.0]], [[3.0]])  # 1 + s = 0
    output = state.read([[1.0], [2.0], [0.0]])
    assert output.normaliser.tolist() == [0.0, -1.0, 1.0]
    assert (output.hazards.nonpositive_rows, output.hazards.nonfinite_elements) == (2, 1)
    assert not np.isfinite(output.value[0, 0])
    large = taylor(3, 1, 1, arithmetic="float16")
    large.update([[200.0]], [[1.0]])
    assert large.hazards.nonfinite_state > 0
    assert large.hazards
    assert large.read([[1.0]]).hazards.nonfinite_state > 0
    assert not taylor().hazards


def test_sums_of_weights_that_are_no_positive_number_are_hazards() -> None:
    state = taylor(2, 1, 1, scale=1.0, arithmetic="float16")
    state.update([[100.0]], [[1e-4]])
    output = state.read([[200.0]])  # Z overflows, and the quotient is 0: nothing else would show it
    assert (output.value.tolist(), output.normaliser.tolist()) == ([[0.0]], [np.inf])
    assert output.hazards.nonpositive_rows == 1
    state.update([[400.0]], [[1.0]])
    assert state.read([[400.0]]).hazards.nonfinite_elements + state.read([[400.0]]).hazards.nonpositive_rows > 0


def test_forms_tell_the_hazards_of_their_states() -> None:
    ones = Problem(np.ones((600, 1)), np.ones((600, 1)), np.ones((600, 1)), scale=1.0)
    for mechanism, form, order in (("taylor", "packed", 1), ("taylor", "stream", 1), ("logexp", "stream", None)):
        output = run(mechanism, form, ones, ARITHMETICS["bfloat16"], order)
        assert output.hazards.lost_additions > 300  # a count in bfloat16 stops at 256
    large = Problem([[1.0]], [[300.0]], [[1.0]], scale=1.0)
    watched = run("taylor", "packed", large, ARITHMETICS["float16"], 2, limits={"watch": True}).hazards
    assert (watched.overflowed_features, watched.nonfinite_state) == (1, 2)
    small = Problem([[1.0]], [[2.0**-10]], [[1.0]], scale=1.0)
    watched = run("taylor", "packed", small, ARITHMETICS["float16"], 2, limits={"watch": True}).hazards
    assert (watched.overflowed_features, watched.underflowed_features) == (0, 1)


def test_features_are_watched_only_where_that_is_asked_for() -> None:
    """Counting them takes longer than forming them."""
    for k in (300.0, 2.0**-10):
        problem = Problem([[1.0]], [[k]], [[1.0]], scale=1.0)
        found = run("taylor", "packed", problem, ARITHMETICS["float16"], 2).hazards
        assert (found.overflowed_features, found.underflowed_features) == (0, 0)
        state = taylor(2, 1, 1, scale=1.0, arithmetic="float16")
        state.update([[k]], [[1.0]])
        found = state.read([[1.0]]).hazards
        assert (found.overflowed_features, found.underflowed_features) == (0, 0)


def test_saturated_inputs_and_underflowed_sums_are_hazards() -> None:
    # the largest float8_e4m3fn is 448; up to 464 rounds to it, and beyond there is NaN
    problem = Problem([[1.0]], [[449.0], [448.0], [-463.0]], [[1.0], [2.0], [0.5]], scale=2.0**-9)
    for mechanism, form, order in (("softmax", "softmax", None), ("taylor", "packed", 1), ("logexp", "stream", None)):
        output = run(mechanism, form, problem, ARITHMETICS["float8_e4m3fn+float32"], order)
        assert output.hazards.saturated_inputs == 2
        assert run(mechanism, form, problem, ARITHMETICS["float32"], order).hazards.saturated_inputs == 0
    state = taylor(2, 1, 1, storage="float16")
    state.update([[2.0**-9]], [[1.0]])
    assert state.hazards.underflowed_state == 2  # k^2 = 2^-18 for v and for the count of weights
    assert state.hazards


@pytest.mark.parametrize(
    ("name", "value", "saturated"),
    [
        ("float32", 1e39, 0),  # infinite, which the sums and outputs show
        ("float16", 1e6, 0),
        ("float16", 65519.0, 1),  # below 65520, half a step beyond the largest, it is rounded to 65504
        ("bfloat16", 1e39, 0),
        ("float8_e4m3fn+float32", 1e6, 0),  # NaN: there is no infinity
        ("float8_e4m3fn+float32", 449.0, 1),
    ],
)
def test_inputs_that_overflow_are_not_saturated(name: str, value: float, saturated: int) -> None:
    for sign in (1.0, -1.0):
        problem = Problem([[1.0]], [[sign * value], [2.0]], [[1.0], [1.0]])
        assert operands(problem, ARITHMETICS[name]).saturated == saturated


@pytest.mark.parametrize(
    ("mechanism", "form", "order"),
    [("softmax", "softmax", None), ("softmax", "online", None), ("logexp", "quadratic", None), ("taylor", "scores", 2)],
)
def test_sums_over_keys_that_stop_growing_are_told(mechanism: str, form: str, order: int | None) -> None:
    # a sum of 2,048 ones in bfloat16 stops at 256: that of weights, and that of weights times values
    ones = Problem(np.zeros((3, 2)), np.zeros((2048, 2)), np.ones((2048, 1)))
    output = run(mechanism, form, ones, ARITHMETICS["bfloat16"], order)
    assert output.normaliser.tolist() == [256.0] * 3
    assert output.hazards.lost_additions == 3 * 2 * (2048 - 256)
    few = ones.but(k=ones.k[:256], v=ones.v[:256])
    assert run(mechanism, form, few, ARITHMETICS["bfloat16"], order).hazards.lost_additions == 0
    hidden = ones.but(mask=np.arange(2048) < 256)  # what is not attended is not added
    assert run(mechanism, form, hidden, ARITHMETICS["bfloat16"], order).hazards.lost_additions == 0
