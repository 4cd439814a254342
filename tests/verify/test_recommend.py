"""Recommendations against orders found by the definition in mpmath."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.cases import named, variant
from verify.arguments import Parameter, Whole
from verify.attention import Cost, Member, Variant
from verify.bounds import RoundingBound
from verify.errors import InvalidRequestError, TooLargeError, ViolatedBoundError
from verify.families.logit import LogitKernel
from verify.measure.decomposition import Decomposer
from verify.measure.metrics import METRICS, root_mean_square
from verify.mechanisms import named_member
from verify.mechanisms.taylor.costs import taylor_cost
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.numbers.arithmetic import ARITHMETICS
from verify.numbers.fields import Field, Number
from verify.problem import Problem
from verify.recommend import Advice, recommend
from verify.truth import defined_attention, reference

RNG = np.random.default_rng(331)
Q, K, V = RNG.standard_normal((3, 2, 10, 4))
PROBLEM = Problem(1.5 * Q, K, V, causal=True)


@cache
def errors_by_definition(problem: Problem, orders: int) -> list[Any]:
    """Return |Taylor - softmax| for every order, from mpmath."""
    softmax = defined_attention(problem, "softmax", 30)
    found = []
    for order in range(orders):
        taylor = defined_attention(problem, named("taylor", order), 30)
        found.append(np.abs((taylor - softmax).astype(np.float64)))
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_parameters_beside_the_axis_are_those_given(seed: int) -> None:
    found = recommend(PROBLEM, 1e3, mechanism=f"favor:seed={seed}", largest=2)
    exact = [reference(PROBLEM, 30, member).value for member in (f"favor:features=1,seed={seed}", "softmax")]
    assert (found.member, found.overall.labels) == (f"favor:features=1,seed={seed}", {"features": 1, "seed": seed})
    assert found.overall.measured == pytest.approx(
        METRICS["relative"].of(np.abs(exact[0] - exact[1]), np.abs(exact[1]))
    )


@pytest.mark.parametrize("tolerance", [0.5, 1e-2, 1e-4])
@pytest.mark.parametrize("metric", ["relative", "max", "median"])
def test_the_smallest_order_is_recommended(metric: str, tolerance: float) -> None:
    errors = errors_by_definition(PROBLEM, 20)
    exact = reference(PROBLEM, 30).value
    found = recommend(PROBLEM, tolerance, metric=metric, largest=19)

    def value(error: Any, y: Any) -> float:
        if metric == "median":
            return float(np.sort(error.ravel())[(error.size + 1) // 2 - 1])
        return float(error.max() if metric == "max" else root_mean_square(error) / root_mean_square(np.abs(y)))

    for advice in (found.overall, *found.per_head):
        place: Any = ... if advice.head is None else advice.head
        values = [value(error[place], exact[place]) for error in errors]
        expected = next(order for order, error in enumerate(values) if error <= tolerance)
        assert (advice.value, advice.labels) == (expected, {"order": expected, "terms": expected + 1})
        assert advice.measured == pytest.approx(values[expected], rel=1e-6)
        if advice.guaranteed is not None:
            assert advice.guaranteed >= expected
            assert all(error <= tolerance for error in values[advice.guaranteed :])
        rows = reference(PROBLEM, 30, "taylor:order=3").nonpositive_rows[place]
        assert advice.nonpositive_rows == rows.sum()
    expected = found.overall.value or 0
    cost = taylor_cost(TAYLOR.member(order=expected), 4, 4)
    assert found.cost == Cost(cost.features, cost.state_elements, cost.flops_per_token)
    # the first context at which the cache of d_k + d_v numbers a token, and its n (2 d_k + 2 d_v + 3) FLOPs, are more
    per_token = cost.head_size + cost.value_size, 2 * cost.head_size + 2 * cost.value_size + 3
    for context, own, each in zip(
        (found.memory_context, found.flop_context), (cost.state_elements, cost.flops_per_token), per_token, strict=True
    ):
        assert context is not None
        assert own is not None
        assert (context - 1) * each <= own < context * each
    assert (found.mechanism, found.axis, found.proposed) == ("taylor", "order", 3)
    assert (found.member, found.largest) == (f"taylor:order={expected}", 19)
    assert found.reason == ""
    assert recommend(PROBLEM, 1e-4, largest=31).overall.guaranteed is not None


def test_none_is_enough_and_why() -> None:
    large = Problem(20 * PROBLEM.q, PROBLEM.k, PROBLEM.v, causal=True)
    found = recommend(large, 1e-3, largest=5)
    assert (found.overall.value, found.member, found.overall.guaranteed, found.cost) == (None,) * 4
    assert (found.memory_context, found.flop_context) == (None, None)
    assert found.overall.best in range(6)
    assert found.overall.labels == {"order": found.overall.best, "terms": found.overall.best + 1}
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
    found = recommend(Problem([[4.0]], k, np.arange(4.0)[:, None], scale=1.0), tolerance, metric="max", largest=31)
    expected = next(p for p, error in enumerate(errors) if error.max() <= tolerance)
    assert found.overall.value == expected
    again = next((p for p in range(expected + 1, 8) if errors[p].max() > tolerance), None)
    assert found.overall.fails_again == again


@pytest.mark.parametrize("arithmetic", ["float32", "float16+float32", "bfloat16+float32"])
def test_rounding_counts_in_an_arithmetic(arithmetic: str) -> None:
    exact = recommend(PROBLEM, 1e-2, largest=19)
    found = recommend(PROBLEM, 1e-2, arithmetic=arithmetic, largest=19)
    assert found.overall.value is not None
    assert exact.overall.value is not None
    assert abs(found.overall.value - exact.overall.value) <= 1
    coarse = recommend(PROBLEM, 1e-4, arithmetic="bfloat16+float32", largest=12)
    assert coarse.overall.value is None  # bfloat16 itself is coarser than that
    assert coarse.overall.measured > 2.0**-9 / 4


def test_bounds_hold_the_guarantee(monkeypatch: pytest.MonkeyPatch) -> None:
    # a bound that is not one guarantees an order that the measured error denies
    monkeypatch.setattr(type(TAYLOR), "formula_bound", lambda self, problem, member: np.zeros(problem.output_shape))
    with pytest.raises(ViolatedBoundError, match="the error exceeds its bound"):
        recommend(PROBLEM, 1e-4, largest=12)


def test_a_tolerance_that_is_reached_exactly_is_met() -> None:
    # one query, so that the largest error is one number of float64, the same each time
    problem = Problem(Q[0, :1], K[0], V[0])
    tolerance = recommend(problem, 1e-3, metric="max", largest=19).overall
    again = recommend(problem, tolerance.measured, metric="max", largest=19).overall
    assert (again.value, again.measured) == (tolerance.value, tolerance.measured)
    below = recommend(problem, float(np.nextafter(tolerance.measured, 0)), metric="max", largest=19).overall
    assert below.value is not None
    assert tolerance.value is not None
    assert below.value > tolerance.value


def test_what_a_mask_hides_does_not_count() -> None:
    # the hidden keys have logits that would take twice as many terms
    mask = np.ones((2, 10, 10), dtype=bool)
    mask[:, :, 7:] = False
    k = np.where(np.arange(10)[:, None] < 7, K, 8 * K)
    problem = Problem(Q, k, V, mask=mask)
    errors = errors_by_definition(problem, 12)
    found = recommend(problem, 1e-2, metric="max", largest=31)
    for advice in (found.overall, *found.per_head):
        place: Any = ... if advice.head is None else advice.head
        assert advice.value == next(order for order, error in enumerate(errors) if error[place].max() <= 1e-2)
        assert advice.largest_logit == pytest.approx(np.abs(0.5 * Q @ K[:, :7].mT)[place].max())
    unmasked = recommend(Problem(Q, k, V), 1e-2, metric="max", largest=31).overall
    assert unmasked.value is None or unmasked.value > (found.overall.value or 0)


@pytest.mark.parametrize("part", ["formula", "quantisation", "doubt of the quantisation", "rounding"])
def test_every_part_of_a_bound_counts_in_the_guarantee(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # each is made larger than the tolerance by itself; what is measured stays
    given: dict[str, Any] = {"metric": "max", "arithmetic": "float32", "largest": 23}
    plain = recommend(PROBLEM, 1e-2, **given).overall
    assert plain.guaranteed is not None
    gaps, rounding, formula = Decomposer.gaps, Variant.rounding_bound, type(TAYLOR).formula_bound
    if part == "formula":
        monkeypatch.setattr(type(TAYLOR), "formula_bound", lambda *args: np.asarray(formula(*args)) + 1.0)
    elif part == "rounding":

        def larger(*args: Any) -> RoundingBound:
            found = rounding(*args)
            assert found is not None
            return RoundingBound(found.sure + 1.0, found.probable)

        monkeypatch.setattr(Variant, "rounding_bound", larger)
    else:
        more = (0.0, 1.0) if part.startswith("doubt") else (1.0, 0.0)

        def enlarged(self: Decomposer, member: Member) -> Any:
            found = gaps(self, member)
            value, doubt = found["quantisation"]
            return found | {"quantisation": (np.abs(value) + more[0], doubt + more[1])}

        monkeypatch.setattr(Decomposer, "gaps", enlarged)
    found = recommend(PROBLEM, 1e-2, **given).overall
    assert (found.value, found.measured, found.guaranteed) == (plain.value, plain.measured, None)


def test_a_guarantee_that_the_measured_error_denies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    # sums of parts are rounded, so that an error may be above its bound by 2^-40 of it; a tolerance in between is met
    # by the bound alone
    problem = Problem(Q[0, :1], K[0], V[0])
    errors = errors_by_definition(problem, 8)
    monkeypatch.setattr(
        type(TAYLOR), "formula_bound", lambda self, problem, member: errors[member["order"]] * (1 - 2.0**-42)
    )
    tolerance = float(errors[5].max()) * (1 - 2.0**-44)
    with pytest.raises(ViolatedBoundError, match=r"taylor:order=5 is guaranteed on .*, and misses the tolerance"):
        recommend(problem, tolerance, metric="max", largest=7)


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
        ({"largest": -1}, "largest order -1; expected an integer from 0 to 63"),
        ({"largest": 64}, "an integer from 0 to 63"),
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
    found = recommend(PROBLEM, 1e-2, largest=15)
    assert {f.name for f in dataclasses.fields(Advice)} >= {"value", "labels", "guaranteed"}
    assert [advice.head for advice in found.per_head] == [(0,), (1,)]


def test_the_guarantee_covers_quantisation_and_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    # inputs that bfloat16 and float8 do not hold: the parts count, and leaving one out is noticed
    for arithmetic, form in (("bfloat16+float32", "packed"), ("float8_e4m3fn+float32", "scores")):
        found = recommend(PROBLEM, 0.4, metric="max", arithmetic=arithmetic, form=form, largest=12)
        assert found.overall.value is not None
    zero = np.zeros(PROBLEM.output_shape[1:])
    nothing = RoundingBound(zero, zero)
    monkeypatch.setattr(Variant, "rounding_bound", lambda *_: nothing)
    monkeypatch.setattr(type(TAYLOR), "formula_bound", lambda self, problem, member: np.zeros(problem.output_shape))
    with pytest.raises(ViolatedBoundError, match="exceeds its bound"):
        recommend(PROBLEM, 0.4, arithmetic="float16", largest=12)


def test_reasons_are_the_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Problem(0.5 * Q, K, V)
    found = recommend(small, 1e-4, arithmetic="float8_e4m3fn+float32", largest=12)
    assert found.overall.value is None
    assert "float8_e4m3fn+float32 is too coarse" in found.reason
    positive = Problem([[3.0]], [[1.0], [2.0], [3.0]], [[1.0], [2.0], [3.0]], scale=1.0)
    found = recommend(positive, 1e-9, largest=7)
    assert "logits go from 3 to 9" in found.reason
    assert "negative" not in found.reason


def test_rows_of_order_three_are_told_whatever_is_tried() -> None:
    large = Problem(3 * Q, K, V, causal=True)
    rows = reference(large, 30, "taylor:order=3").nonpositive_rows
    found = recommend(large, 1e-9, largest=1)
    assert found.overall.nonpositive_rows == rows.sum() > 0
    assert [advice.nonpositive_rows for advice in found.per_head] == rows.sum(axis=-1).tolist()


def test_orders_that_do_not_fit_end_the_search() -> None:
    q, k, v = np.random.default_rng(332).standard_normal((3, 4, 40))
    found = recommend(Problem(q, k, v), 1e-12, arithmetic="float64", form="packed", largest=9)
    assert found.overall.value is None
    assert 3 <= found.largest < 9
    arithmetic = ARITHMETICS["float64"]
    variant("taylor", "packed", found.largest).run(Problem(q, k, v), arithmetic)
    with pytest.raises(TooLargeError):
        variant("taylor", "packed", found.largest + 1).run(Problem(q, k, v), arithmetic)


@pytest.mark.parametrize(
    ("mechanism", "largest", "tolerance", "values"),
    [("power", 8, 0.65, (2, 4, 6, 8)), ("favor", 40, 0.5, (1, 2, 4, 8, 16, 32))],
)
def test_any_mechanism_with_an_axis_is_searched(
    mechanism: str, largest: int, tolerance: float, values: tuple[int, ...]
) -> None:
    softmax = defined_attention(PROBLEM, "softmax", 30)
    size = root_mean_square(np.abs(softmax.astype(np.float64)))
    axis = {"power": "degree", "favor": "features"}[mechanism]
    errors = []
    for value in values:
        own = defined_attention(PROBLEM, f"{mechanism}:{axis}={value}", 30)
        errors.append(root_mean_square(np.abs((own - softmax).astype(np.float64))) / size)
    found = recommend(PROBLEM, tolerance, mechanism=mechanism, largest=largest)
    place = next(place for place, error in enumerate(errors) if error <= tolerance)
    assert (found.mechanism, found.axis, found.largest) == (mechanism, axis, values[-1])
    assert (found.overall.value, found.overall.best) == (values[place], values[place])
    assert found.overall.measured == pytest.approx(errors[place], rel=1e-9)
    assert found.overall.labels[axis] == values[place]
    assert (found.proposed, found.overall.nonpositive_rows, found.overall.guaranteed) == (None, None, None)
    assert found.member == named_member(f"{mechanism}:{axis}={values[place]}").name
    assert found.cost is not None
    features = {"power": math.comb(values[place] + 3, 3), "favor": values[place]}[mechanism]
    assert (found.cost.features, found.cost.state_elements) == (features, 5 * features)
    assert found.memory_context == 5 * features // 8 + 1  # a cache of 4 + 4 numbers a token
    assert (found.flop_context is None) == (found.cost.flops_per_token is None) == (mechanism == "power")
    coarse = recommend(PROBLEM, tolerance, mechanism=mechanism, largest=largest, arithmetic="float32", form="stream")
    assert coarse.overall.value == values[place]
    assert coarse.form == "stream"
    none = recommend(PROBLEM, 1e-6, mechanism=mechanism, largest=largest)
    assert (none.overall.value, none.member, none.cost) == (None, None, None)
    assert none.overall.best == values[int(np.argmin(errors))]
    assert none.reason == f"the smallest error is {min(errors):.2g}, at {axis} {none.overall.best}"


class Same(LogitKernel):
    """Softmax by another name, with something to vary."""

    name = "same"
    description = "softmax itself"
    source = "here"
    parameters: Mapping[str, Parameter] = {"block": Whole(1, least=1)}
    axis = "block"
    formula_error = None

    def function(self, f: Field, s: Number, member: Member) -> Number:
        return f.exp(s)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"mechanism": Same()},
            "mechanism same, whose formula is that of softmax; expected one that differs from it; ",
        ),
        ({"mechanism": "elu"}, "mechanism elu, which has nothing to vary; expected one with an axis; "),
        ({"mechanism": "softmax"}, "mechanism softmax, which has nothing to vary; expected one with an axis; "),
        ({"mechanism": "taylor:order=3"}, "mechanism taylor with its order given; expected order left open, as it is"),
        (
            {"mechanism": "taylor/packed"},
            "'taylor/packed' with a form; expected MECHANISM:NAME=VALUE; leave /packed out",
        ),
        ({"mechanism": "favor:seed=-1"}, "seed -1; expected an integer"),
        ({"mechanism": ""}, "a mechanism without a name; expected one of softmax, .*; name one"),
        ({"mechanism": "tailor"}, "unknown mechanism 'tailor'; expected one of softmax, .*; did you mean taylor"),
        ({"mechanism": "power", "largest": 7}, "degree 7; expected an integer from 2 to 64 in steps of 2; "),
        ({"mechanism": "favor", "largest": 0}, "features 0; expected an integer from 1 to 65536; "),
        ({"mechanism": "favor", "form": "packed"}, "form 'packed' of mechanism 'favor'; expected one of pairs, stream"),
    ],
)
def test_mechanisms_that_cannot_be_searched(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        recommend(PROBLEM, 1e-2, **change)
    assert len(str(caught.value).splitlines()) == 1
