"""Recommendations against orders found by the definition in mpmath."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from verify import recommend as module
from verify.bounds import RoundingBound
from verify.cost import taylor_cost
from verify.errors import InvalidRequestError, ViolatedBoundError
from verify.measure.metrics import root_mean_square
from verify.problem import Problem
from verify.recommend import METRICS, Advice, recommend
from verify.truth import defined_attention, reference

RNG = np.random.default_rng(331)
Q, K, V = RNG.standard_normal((3, 2, 10, 4))
PROBLEM = Problem(1.5 * Q, K, V, causal=True)


def errors_by_definition(problem: Problem, orders: int) -> list[Any]:
    """Return |Taylor - softmax| for every order, from mpmath."""
    softmax = defined_attention(problem, mechanism="softmax", digits=30)
    found = []
    for order in range(orders):
        taylor = defined_attention(problem, mechanism="taylor", order=order, digits=30)
        found.append(np.abs((taylor - softmax).astype(np.float64)))
    return found


@pytest.mark.parametrize("tolerance", [0.5, 1e-2, 1e-4])
@pytest.mark.parametrize("metric", ["relative", "max", "median"])
def test_the_smallest_order_is_recommended(metric: str, tolerance: float) -> None:
    errors = errors_by_definition(PROBLEM, 20)
    exact = reference(PROBLEM, 30).value
    found = recommend(PROBLEM, tolerance, metric=metric, max_order=19)

    def value(error: Any, y: Any) -> float:
        if metric == "median":
            return float(np.sort(error.ravel())[(error.size + 1) // 2 - 1])
        return float(error.max() if metric == "max" else root_mean_square(error) / root_mean_square(np.abs(y)))

    for advice in (found.overall, *found.per_head):
        place: Any = ... if advice.head is None else advice.head
        values = [value(error[place], exact[place]) for error in errors]
        expected = next(order for order, error in enumerate(values) if error <= tolerance)
        assert (advice.order, advice.terms) == (expected, expected + 1)
        assert advice.measured == pytest.approx(values[expected], rel=1e-6)
        if advice.guaranteed_order is not None:
            assert advice.guaranteed_order >= expected
            assert all(error <= tolerance for error in values[advice.guaranteed_order :])
        rows = reference(PROBLEM, 30, "taylor", 3).nonpositive_rows[place]
        assert advice.nonpositive_rows == rows.sum()
    assert found.cost == taylor_cost(4, found.overall.order or 0, 4)
    assert found.reason == ""
    assert recommend(PROBLEM, 1e-4, max_order=31).overall.guaranteed_order is not None


def test_none_is_enough_and_why() -> None:
    large = Problem(20 * PROBLEM.q, PROBLEM.k, PROBLEM.v, causal=True)
    found = recommend(large, 1e-3, max_order=5)
    assert (found.overall.order, found.overall.terms, found.overall.guaranteed_order, found.cost) == (None,) * 4
    assert found.overall.best_order in range(6)
    assert "logits go from -" in found.reason
    assert "weights of order 5 are negative below -2.18" in found.reason


def test_more_terms_can_miss_again() -> None:
    # four keys of one query: even orders pass where the next odd one, with its negative weights, does not
    k = np.array([[-1.0], [-0.9], [0.1], [0.2]])
    errors = errors_by_definition(Problem([[4.0]], k, np.arange(4.0)[:, None], scale=1.0), 8)
    rising = [order for order in range(7) if errors[order + 1].max() > errors[order].max()]
    assert rising
    order = rising[0]
    tolerance = float(errors[order].max() * 1.001)
    found = recommend(Problem([[4.0]], k, np.arange(4.0)[:, None], scale=1.0), tolerance, metric="max", max_order=31)
    expected = next(p for p, error in enumerate(errors) if error.max() <= tolerance)
    assert found.overall.order == expected
    again = next((p for p in range(expected + 1, 8) if errors[p].max() > tolerance), None)
    assert found.overall.fails_again == again


@pytest.mark.parametrize("arithmetic", ["float32", "float16+float32", "bfloat16+float32"])
def test_rounding_counts_in_an_arithmetic(arithmetic: str) -> None:
    exact = recommend(PROBLEM, 1e-2, max_order=19)
    found = recommend(PROBLEM, 1e-2, arithmetic=arithmetic, max_order=19)
    assert found.overall.order is not None
    assert exact.overall.order is not None
    assert abs(found.overall.order - exact.overall.order) <= 1
    coarse = recommend(PROBLEM, 1e-4, arithmetic="bfloat16+float32", max_order=12)
    assert coarse.overall.order is None  # bfloat16 itself is coarser than that
    assert coarse.overall.measured > 2.0**-9 / 4


def test_bounds_hold_the_guarantee(monkeypatch: pytest.MonkeyPatch) -> None:
    # a bound that is not one guarantees an order that the measured error denies
    monkeypatch.setattr(module, "truncation_bound", lambda problem, order: np.zeros(problem.output_shape))
    with pytest.raises(ViolatedBoundError, match="the error exceeds its bound"):
        recommend(PROBLEM, 1e-4, max_order=12)


def test_metrics_fed_special_values_fail() -> None:
    y = np.ones(8)
    for planted in (np.full(8, np.inf), np.where(np.arange(8) == 3, np.inf, 0.0)):
        for name, metric in METRICS.items():
            if name == "median" and np.isfinite(planted).sum() > 4:
                continue  # one of eight does not move a median
            assert metric.of(planted, y) == np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tolerance": 0.0}, "tolerance 0.0; expected a number above 0"),
        ({"tolerance": -1e-3}, "tolerance -0.001"),
        ({"tolerance": float("nan")}, "tolerance nan"),
        ({"metric": "best"}, "unknown metric 'best'; expected one of relative, rms"),
        ({"max_order": -1}, "a largest order of -1"),
        ({"max_order": 64}, "an integer from 0 to 63"),
        ({"arithmetic": "float7"}, "unknown arithmetic 'float7'"),
        ({"form": "fast"}, "form 'fast' of mechanism 'taylor'"),
        ({"problem": Problem(np.ones((2, 3)), np.ones((0, 3)), np.ones((0, 2)))}, "no query attends to any key"),
        ({"problem": Problem([[1e5]], [[1.0]], [[1.0]]), "arithmetic": "float16"}, "overflows float16"),
    ],
)
def test_impossible_requests(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"problem": PROBLEM, "tolerance": 1e-2}
    with pytest.raises(InvalidRequestError, match=message):
        recommend(**(arguments | change))


def test_advice_is_plain_data() -> None:
    found = recommend(PROBLEM, 1e-2, max_order=15)
    assert {f.name for f in dataclasses.fields(Advice)} >= {"order", "terms", "guaranteed_order"}
    assert [advice.head for advice in found.per_head] == [(0,), (1,)]


def test_the_guarantee_covers_quantisation_and_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    # inputs that bfloat16 and float8 do not hold: the parts count, and leaving one out is noticed
    for arithmetic, form in (("bfloat16+float32", "packed"), ("float8_e4m3fn+float32", "scores")):
        found = recommend(PROBLEM, 0.4, metric="max", arithmetic=arithmetic, form=form, max_order=12)
        assert found.overall.order is not None
    zero = np.zeros(PROBLEM.output_shape[1:])
    nothing = RoundingBound(zero, zero)
    monkeypatch.setattr(module, "rounding_bound", lambda *a: nothing)
    monkeypatch.setattr(module, "truncation_bound", lambda problem, order: np.zeros(problem.output_shape))
    with pytest.raises(ViolatedBoundError, match="exceeds its bound"):
        recommend(PROBLEM, 0.4, arithmetic="float16", max_order=12)


def test_reasons_are_the_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Problem(0.5 * Q, K, V)
    found = recommend(small, 1e-4, arithmetic="float8_e4m3fn+float32", max_order=12)
    assert found.overall.order is None
    assert "float8_e4m3fn+float32 is too coarse" in found.reason
    positive = Problem([[3.0]], [[1.0], [2.0], [3.0]], [[1.0], [2.0], [3.0]], scale=1.0)
    found = recommend(positive, 1e-9, max_order=7)
    assert "logits go from 3 to 9" in found.reason
    assert "negative" not in found.reason


def test_rows_of_order_three_are_told_whatever_is_tried() -> None:
    large = Problem(3 * Q, K, V, causal=True)
    rows = reference(large, 30, "taylor", 3).nonpositive_rows
    found = recommend(large, 1e-9, max_order=1)
    assert found.overall.nonpositive_rows == rows.sum() > 0
    assert [advice.nonpositive_rows for advice in found.per_head] == rows.sum(axis=-1).tolist()


def test_orders_that_do_not_fit_end_the_search() -> None:
    q, k, v = np.random.default_rng(332).standard_normal((3, 4, 40))
    found = recommend(Problem(q, k, v), 1e-12, arithmetic="float64", form="packed", max_order=9)
    assert found.overall.order is None
    assert 3 <= found.max_order < 9
