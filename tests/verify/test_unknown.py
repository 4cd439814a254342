"""A mechanism that is entered by half is refused, and one that is entered is computed as itself: never as softmax."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb
from mpmath import mp

from verify.attention import Cost, Form, Mechanism, Member, Variant
from verify.errors import InvalidRequestError, MechanismError
from verify.families import FeatureKernel, LogitKernel, PolynomialKernel
from verify.families.costs import cache_cost
from verify.families.logit import pairs
from verify.measure.decomposition import Decomposer, Truths
from verify.measure.exact import Exact
from verify.measure.weights import compare_weights
from verify.mechanisms import known, named_member, named_variant
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.numbers.fields import Field, Number
from verify.numbers.precision import flint_precision, mpmath_precision
from verify.parallel.executors import worker_pool
from verify.problem import Problem
from verify.truth import certify, defined_attention, reference
from verify.truth.rational import rational_attention

# Weights 1 + s^2 of logits q k: 1, 2, 5 and 1, 5, 17 and 1, 5/4, 2.
PROBLEM = Problem([[1.0], [2.0], [0.5]], [[0.0], [1.0], [-2.0]], [[4.0], [8.0], [16.0]], scale=1.0, name="by hand")
WEIGHTS = [[1.0, 2.0, 5.0], [1.0, 5.0, 17.0], [1.0, 1.25, 2.0]]
EXACT = [Fraction(100, 8), Fraction(316, 23), Fraction(46) / Fraction(17, 4)]


def softmax_shares() -> list[list[Any]]:
    """Return softmax's weights of the problem, each row adding up to 1."""
    shares = []
    for (q,) in PROBLEM.q.tolist():
        weights = [mp.exp(mp.mpf(q) * mp.mpf(k)) for (k,) in PROBLEM.k.tolist()]
        shares.append([w / mp.fsum(weights) for w in weights])
    return shares


def softmax_outputs() -> list[Any]:
    """Return what softmax makes of the problem: 4 to 8, where 1 + s^2 is beyond 10."""
    return [mp.fdot(shares, [4, 8, 16]) for shares in softmax_shares()]


class Described:
    description = "one and the square of the logit"
    source = "made up"


class Hill(Described, LogitKernel):
    name = "hill"

    def function(self, f: Any, s: Any, member: Member) -> Any:
        return 1 + s * s


class HillOfPowers(Described, PolynomialKernel):
    name = "hill-of-powers"

    def coefficients(self, member: Member) -> Sequence[Fraction]:
        return [Fraction(1), Fraction(0), Fraction(1)]


class HillOfFeatures(Described, FeatureKernel):
    name = "hill-of-features"

    def feature_count(self, head_size: int, member: Member) -> int:
        return 2

    def features(self, f: Any, x: Any, scale: Any, member: Member) -> list[Any]:
        return [f.ratio(1), x[0] * x[0]]


HILLS = (Hill(), HillOfPowers(), HillOfFeatures())

every_hill = pytest.mark.parametrize("member", [hill.member() for hill in HILLS], ids=lambda member: member.name)
every_variant = pytest.mark.parametrize(
    "variant",
    [Variant(hill.member(), form.name) for hill in HILLS for form in hill.forms],
    ids=lambda variant: variant.name,
)


def test_softmax_is_far_from_the_values_by_hand() -> None:
    for softmax, exact in zip(softmax_outputs(), EXACT, strict=True):
        assert abs(float(softmax) - float(exact)) > 2


@every_hill
def test_balls_hold_the_values_by_hand(member: Member) -> None:
    truth = reference(PROBLEM, 40, member)
    assert truth.member == member
    assert truth.digits >= 40
    for row, exact in enumerate(EXACT):
        with flint_precision(300):
            assert truth.balls.ball((row, 0)).overlaps(arb(exact.numerator) / exact.denominator)
        assert abs(Fraction(float(truth.value[row, 0])) - exact) <= exact / 2**52


@every_hill
def test_mpmath_finds_the_values_by_hand(member: Member) -> None:
    with mpmath_precision(300):
        for found, exact in zip(defined_attention(PROBLEM, member, 40)[:, 0], EXACT, strict=True):
            assert abs(found - mp.mpf(exact.numerator) / exact.denominator) < mp.mpf(10) ** -40


@every_hill
def test_rational_intervals_hold_the_values_by_hand(member: Member) -> None:
    found = dict(rational_attention(PROBLEM, member, 100))
    assert list(found) == [(0, 0), (1, 0), (2, 0)]
    for interval, exact in zip(found.values(), EXACT, strict=True):
        assert interval.low <= exact <= interval.high
        assert interval.high - interval.low < Fraction(1, 2**80)


@every_hill
def test_the_accounts_certify_each_other(member: Member) -> None:
    certificate = certify(PROBLEM, 30, member)
    assert (certificate.elements, certificate.rational) == (3, 3)


@every_hill
def test_weights_in_float64_are_its_own(member: Member) -> None:
    (head,) = PROBLEM.each_head()
    found, magnitudes = member.mechanism.float_weights(head, slice(None), np.ones((3, 3), dtype=bool), member)
    assert found.tolist() == magnitudes.tolist() == WEIGHTS
    moved = []
    for weights, shares in zip(WEIGHTS, softmax_shares(), strict=True):
        moved.append(sum(abs(float(w / sum(weights) - p)) for w, p in zip(weights, shares, strict=True)) / 2)
    summary = compare_weights(PROBLEM, member)
    assert min(moved) > 0.3
    assert summary.total_variation_mean == pytest.approx(sum(moved) / 3, rel=1e-12)
    assert summary.total_variation_max == pytest.approx(max(moved), rel=1e-12)
    # softmax has its largest weight at k = 1, these have theirs at k = -2
    assert summary.top_key_agreement == 0.0


@every_hill
def test_an_error_has_a_part_of_the_formula(member: Member) -> None:
    truths = Truths(PROBLEM)
    parts = Decomposer(truths, truths).of(np.array([[12.5], [14.0], [11.0]]), member).parts
    for row, (softmax, exact) in enumerate(zip(softmax_outputs(), EXACT, strict=True)):
        assert parts["formula"].error[row, 0] == pytest.approx(float(exact) - float(softmax), rel=1e-13)
    rounding = [0.0, float(14 - EXACT[1]), float(11 - EXACT[2])]
    assert parts["rounding"].error.ravel().tolist() == pytest.approx(rounding, rel=1e-12)
    assert parts["quantisation"].error.tolist() == [[0.0]] * 3


@pytest.mark.parametrize("arithmetic", ARITHMETICS.values(), ids=ARITHMETICS.keys())
@every_variant
def test_forms_compute_the_values_by_hand_within_their_bounds(variant: Variant, arithmetic: Arithmetic) -> None:
    # inputs are whole numbers and halves, which every format holds
    exact = np.array([[float(y)] for y in EXACT])
    found = variant.run(PROBLEM, arithmetic).value.astype(np.float64)
    bound = variant.rounding_bound(PROBLEM, exact, arithmetic)
    assert bound is not None
    u = 2.0 ** -min(format_.precision for format_ in (arithmetic.factors, arithmetic.sums, arithmetic.output))
    error = np.abs(found - exact)
    assert error.max() <= 16 * u
    assert (error <= bound.sure).all()
    # sums of 2 * 3 * 17 * 16 may leave float8: its largest number is 448
    expected = 1600 * u if arithmetic.factors.largest > 1632 else np.inf
    assert 0 < bound.sure.min() <= bound.sure.max() <= expected


@pytest.mark.parametrize("hill", [Hill(), HillOfPowers()], ids=lambda hill: hill.name)
def test_the_distance_from_softmax_is_bounded_by_the_functions_own_range(hill: LogitKernel) -> None:
    # (1 + s^2) exp(-s) falls everywhere; kappa is its quotient at the ends of a row's logits
    bound = hill.formula_bound(PROBLEM, hill.member())
    assert bound is not None
    ends = [(-2.0, 1.0), (-4.0, 2.0), (-1.0, 0.5)]
    for found, (low, high), softmax, exact in zip(bound[:, 0], ends, softmax_outputs(), EXACT, strict=True):
        root = np.sqrt((1 + low**2) / (1 + high**2) * np.exp(high - low))
        tight = 12.0 * (root - 1) / (root + 1)
        assert abs(float(exact) - float(softmax)) <= tight <= found <= 1.02 * tight


def test_what_nobody_said_is_unknown() -> None:
    assert HILLS[2].formula_bound(PROBLEM, HILLS[2].member()) is None
    assert Variant(HILLS[0].member(), "pairs").costs(PROBLEM) == Cost(None, 6, None)
    silent = by_itself(forms=(Form("plain", "of no bound", pairs, cache_cost),))
    assert Variant(silent.member(), "plain").rounding_bound(PROBLEM, np.zeros((3, 1)), ARITHMETICS["float32"]) is None
    assert silent.formula_bound(PROBLEM, silent.member()) is None
    assert silent.hopeless(PROBLEM, [silent.member()]) == ""


# What a mechanism declares that belongs to no family; each by itself is not enough.
OWN: dict[str, Callable[..., Any]] = {
    "weights": lambda self, f, q, keys, scale, member: [f.ratio(1) for _ in keys],
    "balls": lambda self, block, members, *, magnitudes: [],
    "float_weights": lambda self, head, rows, attended, member: (np.ones(attended.shape), np.ones(attended.shape)),
}


def by_itself(leave_out: Iterable[str] = (), **more: Any) -> Mechanism:
    """Return a mechanism that belongs to no family, without some of what it has to declare."""
    declared = {"name": "own", "description": "of its own", "source": "made up"} | OWN | more
    kind = type("Own", (Mechanism,), {name: value for name, value in declared.items() if name not in leave_out})
    made: Mechanism = kind()
    return made


@pytest.mark.parametrize("labels", [[], {1: 2}, {"x": float("nan")}, {"x": None}, {"x": [1]}, {"x": np.float64(1)}])
def test_labels_that_no_table_can_show_are_refused(labels: Any) -> None:
    member = by_itself(labels=lambda self, member: labels).member()
    with pytest.raises(MechanismError, match=r"labels .* of own; expected names with whole numbers"):
        _ = member.labels


def test_plain_labels_are_taken() -> None:
    plain = {"a": 1, "b": 0.5, "c": "x", "d": True}
    assert by_itself(labels=lambda self, member: plain).member().labels == plain


def test_mechanisms_are_the_same_where_they_were_found() -> None:
    one, other = by_itself(), by_itself()
    assert one != other
    assert len({one, other, one}) == 2
    for mechanism in (one, other):
        mechanism.origin = (by_itself, ())
    assert one == other
    assert len({one, other}) == 1


@pytest.mark.parametrize("missing", OWN)
def test_a_mechanism_without_an_account_cannot_be_made(missing: str) -> None:
    with pytest.raises(TypeError, match=f"abstract method '?{missing}"):
        by_itself([missing])


@pytest.mark.parametrize(
    ("family", "missing"), [(LogitKernel, "function"), (PolynomialKernel, "coefficients"), (FeatureKernel, "features")]
)
def test_a_mechanism_of_a_family_without_its_formula_cannot_be_made(family: type[Mechanism], missing: str) -> None:
    with pytest.raises(TypeError, match=f"abstract method '?{missing}"):
        type("Half", (Described, family), {"name": "half"})()


@pytest.mark.parametrize("missing", ["name", "description", "source"])
def test_a_mechanism_that_does_not_say_what_it_is_has_no_members(missing: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"Own, a mechanism without {missing}; expected text; declare its"):
        by_itself([missing]).member()


def test_a_member_without_weights_in_balls_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no weights of own in balls; expected those of every member"):
        reference(PROBLEM, 15, by_itself().member())
    nothing_seen = Problem(PROBLEM.q, PROBLEM.k, PROBLEM.v, mask=np.zeros((3, 3), dtype=bool))
    assert reference(nothing_seen, 15, by_itself().member()).value.tolist() == [[0.0]] * 3


NAMED: dict[str, Callable[[str], object]] = {
    "member": lambda name: known().member(name),
    "plans": lambda name: known().plans([name]),
    "balls": lambda name: reference(PROBLEM, 15, name),
    "mpmath": lambda name: defined_attention(PROBLEM, name),
    "rationals": lambda name: list(rational_attention(PROBLEM, name, 60)),
    "certificate": lambda name: certify(PROBLEM, 15, name),
    "form": lambda name: named_variant(f"{name}/softmax"),
}


@pytest.mark.parametrize("place", NAMED)
@pytest.mark.parametrize(("name", "near"), [("elu2", "elu"), ("softmx", "softmax"), ("tailor:order=3", "taylor")])
def test_a_name_that_nobody_has_is_refused_with_one_that_is_near(place: str, name: str, near: str) -> None:
    unknown = name.partition(":")[0]
    with pytest.raises(
        InvalidRequestError, match=f"unknown mechanism '{unknown}'; expected one of softmax, .*; did you mean {near}\\?"
    ):
        NAMED[place](name)


@pytest.mark.parametrize("form", ["softmax", "online", "scores", "linear"])
def test_forms_of_other_mechanisms_are_refused(form: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"form '{form}' of mechanism 'hill'; expected one of pairs;"):
        Variant(HILLS[0].member(), form)
    with pytest.raises(InvalidRequestError, match=f"form '{form}' of mechanism 'own'; expected a mechanism that has"):
        Variant(by_itself().member(), form)


class Imitation(LogitKernel):
    """1 + s^2 under a name that is taken; of the module, so that a process can import it."""

    name = "softmax"
    description = "1 + s^2"
    source = "this test"

    def function(self, f: Field, s: Number, member: Member) -> Number:
        return 1 + s**2


def test_a_mechanism_that_is_called_softmax_is_not_taken_for_it() -> None:
    imitation = Imitation().member()
    assert imitation != named_member("softmax")
    truths = Truths(PROBLEM, [imitation])
    own, softmax = truths.of(imitation).value, truths.of_softmax().value
    assert own.ravel().tolist() == pytest.approx([float(x) for x in EXACT], rel=1e-15)
    assert np.array_equal(softmax, reference(PROBLEM, 33).value)
    assert np.abs(own - softmax).min() > 1e-3
    with worker_pool(1) as pool:  # a copy comes back, and is another mechanism; the values are those asked for
        assert np.array_equal(reference(PROBLEM, 33, imitation, executor=pool).value, own)


@pytest.mark.parametrize(
    ("bound", "given"),
    [
        (lambda shape: np.zeros(3), r"shape \[3\]; expected numbers of at least 0, \[3, 1\], or None"),
        (lambda shape: np.full(shape, np.nan), "type ndarray, or NaN; expected numbers of at least 0"),
        (lambda shape: np.full(shape, -1.0), "type ndarray, or NaN; expected numbers of at least 0"),
        (lambda shape: "x", r"shape \[\]; expected numbers"),
        (lambda shape: np.zeros(shape).tolist(), "type list, or NaN; expected numbers"),
    ],
)
def test_a_bound_of_a_formula_that_is_none_is_refused(bound: Any, given: str) -> None:
    own: Any = type("Own", (Imitation,), {"formula_bound": lambda self, problem, member: bound(problem.output_shape)})
    member = own().member()
    with pytest.raises(MechanismError, match=rf"formula_bound\(\) of softmax of {given}"):
        Exact(PROBLEM, [member]).formula_bound(member)
