"""Bounds: certified numbers against others' methods, and no measured error above them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flint import arb
from mpmath import mp

from tests.cases import FORMS, ORDERS, PROBLEMS, named, variant
from verify.attention import Variant
from verify.bounds import RoundingBound, accumulated, accumulated_probably
from verify.errors import CertificationError, InvalidRequestError
from verify.inputs import sample
from verify.measure.metrics import computed_error
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.mechanisms.taylor.truncation import deviation_range, output_bound, positivity_radius, relative_truncation
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.precision import mpmath_precision
from verify.problem import Problem
from verify.truth import Reference, difference, reference


def truncated(order: int, s: Any) -> Any:
    """Return T_N(s) in mpmath."""
    return sum(mp.mpf(s) ** p / mp.factorial(p) for p in range(order + 1))


@pytest.mark.parametrize("order", [1, 3, 5, 7, 9, 15, 31])
def test_radius_of_positive_weights_to_thirty_digits(order: int) -> None:
    found = positivity_radius(order, 30)
    assert found is not None
    assert found.rad() < arb(10) ** -30
    with mpmath_precision(200):
        # Newton's method on the polynomial as it stands, from a rough value
        root = mp.findroot(lambda s: truncated(order, -s), float(found.mid()), tol=1e-55)
        assert abs(mp.mpf(found.mid().str(45, radius=False)) - root) < mp.mpf(10) ** -30
    for s, positive in ((found.lower(), True), (found.upper(), False)):
        value = sum((arb(-1) ** p * s**p / arb(p).fac() for p in range(order + 1)), arb(0))
        assert not (value < 0 if positive else value > 0)


def test_radii_that_are_published_and_even_orders() -> None:
    # SEEDS: 1, 1.596..., 2.181..., 2.759...
    radii = [positivity_radius(order) for order in (1, 3, 5, 7)]
    shown = [float(radius.mid()) for radius in radii if radius is not None]
    assert shown == pytest.approx([1.0, 1.596, 2.181, 2.759], abs=5e-4)
    assert positivity_radius(4) is None
    assert positivity_radius(0) is None


def test_a_radius_that_is_not_certain_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verify.mechanisms.taylor.truncation.MAX_BITS", 8)
    for order in (3, 31):
        with pytest.raises(CertificationError, match=f"the zero of order {order} to 30 digits exceeds the precision"):
            positivity_radius(order)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("radius", [1e-6, 0.3, 1.0, 2.5, 11.0, 50.0, 300.0])
def test_relative_truncation_is_the_largest_there_is(order: int, radius: float) -> None:
    bound = relative_truncation(order, radius)
    with mpmath_precision(2000):
        grid = [mp.mpf(radius) * i / 200 for i in range(-200, 201)]
        errors = [abs(truncated(order, s) * mp.exp(-s) - 1) for s in grid]
        assert max(errors) <= bound
        assert max(errors) >= bound * (1 - mp.mpf(2) ** -38)  # attained at -R


@pytest.mark.parametrize("order", [0, 1, 2, 5, 8])
@pytest.mark.parametrize(
    ("low", "high"), [(-2.0, 3.0), (0.5, 4.0), (-3.0, -1.0), (0.0, 0.0), (-1e-9, 2e-9), (7.0, 7.5)]
)
def test_deviations_between_two_logits(order: int, low: float, high: float) -> None:
    least, most = deviation_range(order, low, high)
    with mpmath_precision(600):
        steps = [mp.mpf(low) + (mp.mpf(high) - mp.mpf(low)) * i / 300 for i in range(301)]
        values = [truncated(order, s) * mp.exp(-s) - 1 for s in steps]
        assert least <= min(values)
        assert max(values) <= most
        # attained at an end, or at 0, which the grid misses by a step
        size = max(abs(x) for x in values)
        assert min(values) - least <= size * mp.mpf(2) ** -38
        assert most - max(values) <= size * mp.mpf(2) ** -38 or (order % 2 and most == 0 and low < 0 < high)


def test_impossible_requests() -> None:
    for call in (
        lambda: deviation_range(3, 1.0, 0.0),
        lambda: deviation_range(3, -np.inf, 0.0),
        lambda: deviation_range(3, 0.0, np.nan),
        lambda: deviation_range(-1, 0.0, 1.0),
        lambda: positivity_radius(-1),
    ):
        with pytest.raises(InvalidRequestError, match="expected"):
            call()


def truncation_bound(problem: Problem, order: int) -> Any:
    return TAYLOR.formula_bound(problem, TAYLOR.member(order=order))


def bounds_of(chosen: Variant, problem: Problem, exact: Reference, arithmetic: Arithmetic) -> RoundingBound:
    found = chosen.rounding_bound(problem, exact.value, arithmetic)
    assert found is not None
    return found


def test_two_keys_attain_the_bound_on_outputs() -> None:
    # p(A) = 1 / (1 + sqrt(kappa)) on the key whose weight grows most
    for order, low, high in ((2, -1.0, 1.0), (4, -2.0, 0.5), (1, -0.5, 0.25)):
        bound = output_bound(low, high, order)
        least, most = deviation_range(order, low, high)
        if order % 2:  # the largest factor is that of s = 0
            low, high = low, 0.0
        ends = sorted((low, high), key=lambda s: float(truncated(order, s) * mp.exp(-s)))
        kappa = (1 + most) / (1 + least)
        # so many copies of either key that softmax gives them the shares wanted
        share = 1 / (1 + np.sqrt(kappa))
        counts = [(1 - share) / np.exp(ends[0]), share / np.exp(ends[1])]
        copies = [max(1, round(400 * c / sum(counts))) for c in counts]
        k = np.array([[s] for s, count in zip(ends, copies, strict=True) for _ in range(count)])
        v = np.array([[float(i)] for i, count in enumerate(copies) for _ in range(count)])
        problem = Problem([[1.0]], k, v, scale=1.0)
        gap, _ = difference(reference(problem, 30, named("taylor", order)), reference(problem, 30))
        assert 0.99 * bound <= abs(gap[0, 0]) <= truncation_bound(problem, order)[0, 0]
        assert truncation_bound(problem, order)[0, 0] >= bound * (1 - 1e-9)


def test_bounds_where_nothing_or_everything_can_go_wrong() -> None:
    rng = np.random.default_rng(301)
    q, k = rng.standard_normal((2, 5, 3))
    constant = Problem(q, k, np.full((5, 2), 3.0))
    assert (truncation_bound(constant, 2) == 0).all()
    far = Problem(40 * q, k, rng.standard_normal((5, 2)))
    assert np.isinf(truncation_bound(far, 3)).any()  # some weight may be negative
    assert np.isfinite(truncation_bound(far, 4)).all()
    masked = Problem(q, k, rng.standard_normal((5, 2)), mask=np.tri(5, k=-1, dtype=bool))
    assert (truncation_bound(masked, 2)[0] == 0).all()
    assert (
        bounds_of(variant("softmax", "softmax"), masked, reference(masked), ARITHMETICS["float32"]).sure[0] == 0
    ).all()
    huge = Problem([[1e200]], [[1e200], [1.0]], [[1.0], [2.0]])
    assert np.isinf(truncation_bound(huge, 2)).all()
    large = Problem([[300.0]], [[300.0]], [[1.0]])
    exact = reference(large, 30, "taylor:order=2")
    bound = bounds_of(variant("taylor", "packed", 2), large, exact, ARITHMETICS["float16"])
    assert np.isinf(bound.sure).all()
    assert accumulated(10, 0.1) == np.inf
    assert accumulated_probably(1e12, 2.0**-8) == np.inf
    assert accumulated(100, 2.0**-24) == pytest.approx(100 * 2.0**-24, rel=1e-4)
    assert accumulated_probably(10_000, 2.0**-24) < accumulated(10_000, 2.0**-24) / 10


def test_certified_bounds_of_samples_hold() -> None:
    problem = sample("minilm-layer05")
    softmax = reference(problem, 33)
    for order in (2, 4, 7):
        gap, radius = difference(reference(problem, 33, named("taylor", order)), softmax)
        bound = truncation_bound(problem, order)
        assert (np.abs(gap) <= bound + radius).all()


def random_problems(count: int) -> Iterator[Problem]:
    """Yield small problems of many kinds: sizes, spreads of logits, means of v, masks, scales."""
    rng = np.random.default_rng(302)
    for _ in range(count):
        n_q, n_k, d, d_v = (int(x) for x in rng.integers(1, (5, 9, 5, 4)))
        causal = bool(rng.random() < 0.5)
        n_q = n_k if causal else n_q
        q = rng.standard_normal((n_q, d)) * 10.0 ** rng.uniform(-2, 0.8)
        k = rng.standard_normal((n_k, d)) * 10.0 ** rng.uniform(-1, 0.3)
        v = rng.standard_normal((n_k, d_v)) * 10.0 ** rng.uniform(-3, 2) + rng.choice([0.0, 0.0, 5.0])
        scale = None if rng.random() < 0.6 else float(rng.choice([1.0, 0.3, -0.5]))
        yield Problem(q, k, v, scale=scale, causal=causal)


def exceeded(error: Any, bound: Any, share: float = 1.0) -> bool:
    """Return whether an error is above this share of its bound; NaN is above every finite one."""
    return bool((~(np.abs(error) <= share * bound) & np.isfinite(bound)).any())


@pytest.fixture(scope="module")
def random_cells() -> list[tuple[str, Any, Any, Any]]:
    """Five thousand cells: kind of error and form, error, its bound, and the probable one."""
    rng = np.random.default_rng(303)
    found: list[tuple[str, Any, Any, Any]] = []
    for problem in random_problems(400):
        softmax = reference(problem, 30)
        for order in (int(rng.integers(0, 9)), int(rng.integers(0, 4))):
            gap, radius = difference(reference(problem, 30, named("taylor", order)), softmax)
            gap, bound = np.where(np.abs(gap) <= radius, 0.0, gap), truncation_bound(problem, order)
            found.append(("truncation", gap, bound, bound))
        names = rng.choice(list(ARITHMETICS), 2, replace=False)
        for arithmetic in (ARITHMETICS[name] for name in names):
            rounded = problem.rounded(arithmetic.inputs)
            exact: dict[Any, Reference] = {}
            order = int(rng.integers(0, 6))
            for mechanism, form in (FORMS[i] for i in rng.choice(len(FORMS), 6, replace=False)):
                chosen = variant(mechanism, form, order if mechanism == "taylor" else None)
                if chosen.member not in exact:
                    exact[chosen.member] = reference(rounded, 30, chosen.member)
                output = chosen.run(rounded, arithmetic)
                bounds = bounds_of(chosen, rounded, exact[chosen.member], arithmetic)
                error = computed_error(output.value, exact[chosen.member])
                found.append((f"{mechanism}/{form} {arithmetic.name}", error, bounds.sure, bounds.probable))
    return found


def test_no_measured_error_exceeds_its_bound(random_cells: list[tuple[str, Any, Any, Any]]) -> None:
    assert len(random_cells) >= 5000
    finite = sum(bool(np.isfinite(bound).all()) for _, _, bound, _ in random_cells)
    assert finite > 0.8 * len(random_cells)  # infinite bounds hold without saying anything
    violations = Counter(kind for kind, error, bound, _ in random_cells if exceeded(error, bound))
    assert not violations
    assert not Counter(kind for kind, error, _, probable in random_cells if exceeded(error, probable))


def test_a_tenth_of_a_bound_is_exceeded(random_cells: list[tuple[str, Any, Any, Any]]) -> None:
    caught = Counter(kind.split("/")[0] for kind, error, bound, _ in random_cells if exceeded(error, bound, 0.1))
    assert caught["truncation"] > 50
    assert all(caught[mechanism] > 50 for mechanism in ("softmax", "logexp", "taylor"))
    kind, _, bound, _ = random_cells[0]
    assert exceeded(np.full(bound.shape, np.nan), np.ones(bound.shape)), kind


every_form = pytest.mark.parametrize(("mechanism", "form"), FORMS, ids=["-".join(pair) for pair in FORMS])


@every_form
@pytest.mark.parametrize("arithmetic", [ARITHMETICS["float64"], ARITHMETICS["float32"]], ids=["float64", "float32"])
def test_computing_in_half_the_digits_is_noticed(mechanism: str, form: str, arithmetic: Arithmetic) -> None:
    # the bound of float64 must not hold for float32, and so on: whatever computes with fewer digits is caught
    coarser = {"float64": "float32", "float32": "float16"}[arithmetic.name]
    caught = 0
    for problem in PROBLEMS[:2]:
        rounded = problem.rounded(ARITHMETICS[coarser].inputs)
        chosen = variant(mechanism, form, ORDERS[2] if mechanism == "taylor" else None)
        exact = reference(rounded, 30, chosen.member)
        output = chosen.run(rounded, ARITHMETICS[coarser])
        bound = bounds_of(chosen, rounded, exact, arithmetic)
        caught += exceeded(computed_error(output.value, exact), bound.sure)
    assert caught


def check(
    problem: Problem, mechanism: str, form: str, arithmetic: str, order: int | None = None, **options: Any
) -> None:
    """Fail if a computed output is further from the exact one than its bound."""
    policy = ARITHMETICS[arithmetic]
    chosen = variant(mechanism, form, order, **options)
    exact = reference(problem, 40, chosen.member)
    output = chosen.run(problem, policy)
    bound = bounds_of(chosen, problem, exact, policy)
    assert not exceeded(computed_error(output.value, exact), bound.sure), (form, arithmetic)
    assert (bound.probable <= bound.sure).all()


def test_cells_that_had_exceeded_their_bounds() -> None:
    # v underflows in products with features that the other side makes large again
    tiny = Problem([[1e15]], [[1e-15], [1e-15]], [[1e-33], [1e-33]], scale=1.0)
    half = Problem([[1000.0]], [[2.0**-12]] * 2, [[2.0**-14]] * 2, scale=1.0)
    for form in ("packed", "stream"):
        check(tiny.rounded(ARITHMETICS["float32"].inputs), "taylor", form, "float32", 1)
        check(half, "taylor", form, "float16", 1)
    # weights of log-exp are sums of d components, the largest of which is 1: numerators overflow before weights do
    rng = np.random.default_rng(304)
    float16 = ARITHMETICS["float16"].inputs
    many = Problem(0.05 * rng.standard_normal((64, 64)), 0.05 * rng.standard_normal((64, 64)), 60 + rng.random((64, 4)))
    check(many.rounded(float16), "logexp", "stream", "float16")
    check(Problem(np.zeros((2, 64)), np.zeros((1, 64)), [[2000.0]]), "logexp", "linear", "float16")
    check(
        Problem(np.zeros((10, 64)), np.zeros((10, 64)), np.full((10, 1), 1000.0), causal=True),
        "logexp",
        "stream",
        "float16",
    )
    # subnormal v, and a scale of zero behind products that overflow
    k = np.full((1, 64), -np.log(1e4 / 0.45))
    k[0, 0] = 0.0
    subnormal = Problem(np.zeros((1, 64)), k, [[1e4 * 2.0**-149]]).rounded(ARITHMETICS["float32"].inputs)
    for form in ("stream", "linear"):
        check(subnormal, "logexp", form, "float32")
    nothing = Problem([[1e30]], [[1e30], [1.0]], [[1.0], [2.0]], scale=0.0).rounded(ARITHMETICS["float32"].inputs)
    for mechanism, form, order in (("softmax", "softmax", None), ("softmax", "online", None), ("taylor", "scores", 1)):
        check(nothing, mechanism, form, "float32", order)
    far = Problem([[2.0**-537]], [[0.4 * 2.0**-537], [-0.4 * 2.0**-537]], [[1.0], [0.0]], scale=1.7e308)
    gap, radius = difference(reference(far, 40, "taylor:order=0"), reference(far, 40))
    assert (np.abs(gap) <= truncation_bound(far, 0) + radius).all()
    assert output_bound(-1.0, -1.0, 1) == np.inf  # Z is zero there
    assert output_bound(2.0, 2.0, 1) == 0.0


@every_form
@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16+float32", "float16"])
def test_longer_contexts_stay_under_their_bounds(mechanism: str, form: str, arithmetic: str) -> None:
    # more keys than a tile of the online form or a chunk of the states; v of one sign, so that roundings line up
    rng = np.random.default_rng(305)
    q, k = rng.standard_normal((2, 300, 3))
    problem = Problem(q, k, 1 + rng.random((300, 2)), causal=True).rounded(ARITHMETICS[arithmetic].inputs)
    check(problem, mechanism, form, arithmetic, 2 if mechanism == "taylor" else None)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("order", [1, 2, 5])
def test_truncation_bounds_are_those_of_what_is_attended(causal: bool, order: int) -> None:
    # keys that nobody may see have the largest logits and values: they must not count, nor may any other be missed
    rng = np.random.default_rng(306)
    q, k, v = rng.standard_normal((3, 7, 3))
    mask = None if causal else rng.random((7, 7)) < 0.6
    if causal:
        k[-1], v[-1] = 9.0, 50.0
    else:
        assert mask is not None
        mask[:, 3] = False
        k[3], v[3] = 9.0, 50.0
    problem = Problem(q, k, v, causal=causal, mask=mask)
    bound = truncation_bound(problem, order)
    (head,) = problem.each_head()
    for row in range(7 - causal):
        seen = head.attended()[row]
        if not seen.any():
            continue
        alone = truncation_bound(Problem(q[row : row + 1], k[seen], v[seen]), order)
        np.testing.assert_allclose(bound[row], alone[0], rtol=1e-9)


@pytest.mark.parametrize("form", ["packed", "stream", "dense"])
def test_sizes_beyond_float64_have_no_bound(form: str) -> None:
    # (1e35)^9 leaves float64; the logits, at most 1e-3, do not
    problem = Problem([[1e-3]], [[1e35], [0.0]], [[1.0], [2.0]], scale=1e-35)
    chosen = variant("taylor", form, 9)
    exact = reference(problem, 30, chosen.member)
    assert np.isinf(bounds_of(chosen, problem, exact, ARITHMETICS["float64"]).sure).all()


@pytest.mark.parametrize("options", [{"chunk": 1}, {"chunk": 3}, {"side": "both"}, {"degrees": "apart"}], ids=str)
@pytest.mark.parametrize("arithmetic", ["bfloat16+float32", "float16", "float32"])
def test_bounds_know_the_options_of_a_form(options: dict[str, Any], arithmetic: str) -> None:
    rng = np.random.default_rng(307)
    for order in (1, 4):
        for _ in range(6):
            q, k, v = rng.standard_normal((3, 7, 2))
            problem = Problem(q, k, 1 + np.abs(v), causal=True).rounded(ARITHMETICS[arithmetic].inputs)
            check(problem, "taylor", "packed", arithmetic, order, **options)


@pytest.mark.parametrize(
    "options", [{"storage": "bfloat16"}, {"compensated": True}, {"storage": "float8_e5m2"}], ids=str
)
def test_bounds_know_how_sums_are_kept(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(308)
    for mechanism, form, order in (("taylor", "packed", 2), ("taylor", "stream", 2), ("logexp", "stream", None)):
        for _ in range(8):
            q, k, v = rng.standard_normal((3, 9, 2))
            problem = Problem(q, k, 1 + np.abs(v), causal=True).rounded(ARITHMETICS["float32"].inputs)
            check(problem, mechanism, form, "float32", order, **options)
