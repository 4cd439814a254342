"""The rule: what careful computations reach passes, whatever the number of keys; what is wrong never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from verify.check import judgement
from verify.check.agreement import boundary_margins, fair_demands
from verify.check.judgement import FACTOR, RESOLUTION, Standard, Verdict, certified_standard, judged, row_sizes
from verify.check.noise import RowNoise, row_noise
from verify.errors import InvalidRequestError
from verify.mechanisms import named_member
from verify.numbers.arithmetic import named_arithmetic
from verify.numbers.arrays import Float64Array
from verify.numbers.formats import FORMATS, Format
from verify.problem import Problem
from verify.truth import reference


def problem(keys: int, queries: int = 6, size: int = 16, seed: int = 1) -> Problem:
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((n, size)).astype(np.float32).astype(np.float64) for n in (queries, keys, keys))
    return Problem(q, k, v, name=f"{keys} keys")


def held(own: Problem, arithmetic: str = "float32", *, trivial: bool = True) -> Standard:
    return certified_standard(reference(own, 20), named_arithmetic(arithmetic), weigh_trivial=trivial)


def plainly(own: Problem, kind: type[np.floating[Any]] = np.float32) -> Float64Array:
    """Return softmax attention in plain numpy."""
    q, k, v = (np.asarray(x, dtype=kind) for x in (own.q, own.k, own.v))
    logits = (q @ k.T) * kind(own.float_scale)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray((weights @ v) / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def series(order: int) -> Callable[[Problem], Float64Array]:
    def of(own: Problem) -> Float64Array:
        logits = own.float_scale * (own.q @ own.k.T)
        weights, term = np.ones_like(logits), np.ones_like(logits)
        for p in range(1, order + 1):
            term = term * logits / p
            weights = weights + term
        return np.asarray(weights @ own.v / weights.sum(axis=1, keepdims=True))

    return of


IMPOSTORS: dict[str, Callable[[Problem], Float64Array]] = {
    "zeros": lambda own: np.zeros(own.output_shape),
    "mean": lambda own: np.broadcast_to(own.v.mean(axis=0), own.output_shape),
    "order 1": series(1),
    "order 3": series(3),
    "scale": lambda own: plainly(own.but(scale=0.9 * own.float_scale), np.float64),
    "window": lambda own: plainly(own.but(k=own.k[-48:], v=own.v[-48:]), np.float64),
    "half": lambda own: plainly(own).astype(np.float16).astype(np.float64),
}


@pytest.mark.parametrize("keys", [64, 1024, 16_384])
def test_careful_computations_pass_and_impostors_fail_at_any_length(keys: int) -> None:
    own = held(problem(keys))
    found = judged(own, plainly(own.problem))
    assert found.verdict == Verdict.PASSED, found
    assert found.ratio < FACTOR / 2
    for name, impostor in IMPOSTORS.items():
        assert judged(own, impostor(own.problem)).verdict == Verdict.FAILED, name


def test_a_sum_one_after_the_other_passes() -> None:
    """A plain loop over the keys errs by sqrt(n) roundings, far more than a library's product; it is no mistake."""
    own = held(problem(16_384, queries=2))
    q, k, v = (x.astype(np.float32) for x in (own.problem.q, own.problem.k, own.problem.v))
    logits = (q @ k.T) * np.float32(own.problem.float_scale)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    total = np.cumsum(weights, axis=1, dtype=np.float32)[:, -1:]
    output = np.array([np.cumsum(w[:, None] * v, axis=0, dtype=np.float32)[-1] for w in weights]) / total
    found = judged(own, output.astype(np.float64))
    assert found.verdict == Verdict.PASSED
    assert found.conventional is not None
    assert found.conventional > 2.0


def test_the_tolerance_stays_a_small_part_of_the_output() -> None:
    parts = [held(problem(keys)).resolution for keys in (256, 4096, 16_384)]
    assert max(parts) < 1e-3
    # beside sqrt(n) of a sum in float32 nothing in it grows with the keys
    assert parts[2] / parts[0] < 4 * np.sqrt(16_384 / 256)


@pytest.mark.parametrize("fill", [np.nan, np.inf, 0.0])
def test_answers_of_one_number_fail(fill: float) -> None:
    own = held(problem(64))
    found = judged(own, np.full(own.problem.output_shape, fill))
    assert found.verdict == Verdict.FAILED
    assert found.worst


def test_one_wrong_element_of_one_row_fails() -> None:
    own = held(problem(64, queries=40))
    output = plainly(own.problem)
    output[17, 3] *= 1.001
    found = judged(own, output)
    assert found.verdict == Verdict.FAILED
    assert found.worst[0].index == (17, 3)
    assert found.worst[0].got == output[17, 3]
    assert found.worst[0].expected == own.exact.value[17, 3]


def test_where_trivial_answers_would_pass_nothing_is_decided() -> None:
    rng = np.random.default_rng(2)
    q, k, v = rng.standard_normal((3, 20, 8))
    nearly = Problem(1e-6 * q, k, v)  # weights that are equal but for the last digits of float32
    own = held(nearly.rounded("float32"))
    assert own.resolution > RESOLUTION
    found = judged(own, plainly(own.problem))
    assert found.verdict == Verdict.UNDECIDABLE
    assert "the mean of v" in found.reason
    # and an answer that is wrong there fails nevertheless
    assert judged(own, 2.0 * plainly(own.problem)).verdict == Verdict.FAILED


@pytest.mark.parametrize("exponent", [-900, -600, 600, 1000])
def test_the_floor_grows_with_values_as_they_do(exponent: int) -> None:
    """Squares of such values are no numbers of float64."""
    own, unit = problem(20), float(np.ldexp(1.0, exponent))
    floors = []
    for one in (own, own.but(v=own.v * unit)):
        exact = reference(one, 20)
        floors.append(row_noise(one, exact.member, exact.value, named_arithmetic("float64")).size)
    assert np.all(floors[0] > 0.0)
    np.testing.assert_allclose(floors[1], floors[0] * unit, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e154, 1e160, 1e300])
def test_where_no_floor_can_be_worked_out_nothing_is_decided(scale: float) -> None:
    own = held(problem(20).but(scale=scale), "float64")
    for answer in (plainly(own.problem, np.float64), np.zeros(own.problem.output_shape)):
        assert judged(own, answer).verdict == Verdict.UNDECIDABLE


def test_sums_in_sixteen_bits_are_not_passed_at_length() -> None:
    """The floor grows with the keys where sums are narrow: it then excuses nothing, for nothing is decided."""
    own = held(problem(4096).rounded("bfloat16"), "bfloat16")
    assert own.resolution > RESOLUTION
    zeros = judged(own, np.zeros(own.problem.output_shape))
    assert zeros.verdict in (Verdict.FAILED, Verdict.UNDECIDABLE)


def test_a_weaker_rule_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An absolute tolerance, as others have it, lets impostors through at length: the tests above would fail."""
    floor = row_noise

    def with_tolerance(*given: object) -> RowNoise:
        own = floor(*given)  # type: ignore[arg-type]
        return replace(own, size=own.size + 1e-2)

    monkeypatch.setattr(judgement, "row_noise", with_tolerance)
    own = held(problem(16_384))
    assert judged(own, np.zeros(own.problem.output_shape)).verdict != Verdict.FAILED
    # but what is allowed is then no small part of what zeros lose, and no case passes
    assert judged(own, plainly(own.problem)).verdict == Verdict.UNDECIDABLE


def test_the_floor_is_that_of_the_errors_themselves() -> None:
    """Errors of plain numpy are neither far above the floor nor far below it, in each arithmetic."""
    for kind, name in ((np.float32, "float32"), (np.float64, "float64")):
        own = problem(512, queries=64)
        exact = reference(own, 25)
        floor = row_noise(own, exact.member, exact.value, named_arithmetic(name)).size
        error = (plainly(own, kind) - exact.value) - exact.residual
        shares = row_sizes(error) / floor
        assert 0.02 < np.median(shares) < 1.5, (name, np.median(shares))


def test_other_mechanisms_are_judged_by_their_own_formula() -> None:
    member = named_member("taylor:order=3")
    own = certified_standard(reference(problem(64), 20, member), named_arithmetic("float32"))
    assert judged(own, series(3)(own.problem)).verdict == Verdict.PASSED
    assert judged(own, series(4)(own.problem)).verdict == Verdict.FAILED
    assert judged(own, plainly(own.problem)).verdict == Verdict.FAILED


def test_row_sizes_keep_what_is_not_finite() -> None:
    sizes = row_sizes(np.array([[3.0, 4.0], [np.nan, 0.0], [np.inf, 1.0], [0.0, 0.0], [1e200, 0.0]]))
    assert sizes[0] == pytest.approx(np.sqrt(12.5), rel=1e-15)
    assert list(sizes[1:4]) == [np.inf, np.inf, 0.0]
    assert sizes[4] == pytest.approx(1e200 / np.sqrt(2), rel=1e-15)


def test_an_unknown_arithmetic_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="unknown arithmetic"):
        named_arithmetic("float31")


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float8_e4m3fn"])
def test_margins_are_distances_to_where_rounding_changes(name: str) -> None:
    """Looked for by halving between neighbours, in exact rationals."""
    format_ = FORMATS[name]
    rng = np.random.default_rng(1507)
    drawn = rng.standard_normal(300) * 2.0 ** rng.integers(-20, 8, 300)
    least = format_.smallest
    special = [0.0, least, -1.25 * least, 1.0, 1.0 - 2.0**-30, 2.0**format_.min_exponent, -4.0, 1.5 * least]
    values = np.concatenate([drawn, special])
    values = values[np.isfinite(format_.rounded(values).astype(float))]
    exact = Given(values)
    found = boundary_margins(exact, format_)
    numbers = sorted({Fraction(float(x)) for x in _around(values, format_)})
    boundaries = np.array([float((a + b) / 2) for a, b in pairwise(numbers)])
    for value, margin in zip(values, found, strict=True):
        assert margin == pytest.approx(np.abs(boundaries - value).min(), abs=2.0**-50 * max(abs(value), least))


def _around(values: Float64Array, format_: Format) -> Float64Array:
    """Return the numbers of a format around values, with neighbours: by their bits."""
    kind = np.dtype(f"int{format_.width}")
    size = np.abs(format_.rounded(values)).view(kind)
    near = [np.clip(size.astype(np.int64) + step, 0, None).astype(kind).view(format_.dtype) for step in (-1, 0, 1)]
    found = np.concatenate([x.astype(float) for x in near])
    return np.concatenate([found, -found])


@dataclass(frozen=True)
class Given:
    """Numbers that are exact."""

    value: Float64Array
    off: float = 0.0

    @property
    def residual(self) -> Float64Array:
        return np.full(self.value.shape, self.off)

    @property
    def radius(self) -> Float64Array:
        return np.zeros(self.value.shape)


def test_what_float64_does_not_hold_counts_in_a_margin() -> None:
    tie = np.array([1.0 + 2.0**-11])
    for off in (2.0**-60, -(2.0**-60)):
        assert boundary_margins(Given(tie, off), FORMATS["float16"]) == 2.0**-60
    assert boundary_margins(Given(np.array([1e6])), FORMATS["float16"]) == 0.0


def test_careful_computations_agree_in_every_bit_where_that_is_fair() -> None:
    """Sums in float32, rounded to bfloat16 at the end: two orders of summation, and one output with a bit changed."""
    drawn = problem(300, 40)
    own = held(drawn.but(v=drawn.v + 10.0).rounded("bfloat16"), "bfloat16+float32")
    turned = own.problem.but(k=own.problem.k[::-1], v=own.problem.v[::-1])
    for output in (plainly(x, np.float32) for x in (own.problem, turned)):
        rounded = FORMATS["bfloat16"].rounded(output).astype(np.float64)
        found = judged(own, rounded)
        assert 0.1 * rounded.size < found.fair < found.elements == rounded.size
        assert found.agreeing == found.fair
    fair = fair_demands(own.exact, own.before, FORMATS["bfloat16"])
    assert found.fair == fair.sum()
    rounded[tuple(np.argwhere(fair)[3])] *= 1.0 + 2.0**-7
    assert judged(own, rounded).agreeing == found.fair - 1
    nan = judged(own, np.full(rounded.shape, np.nan))
    assert (nan.verdict, nan.agreeing) == (Verdict.FAILED, 0)
    # where sums have the format of outputs, rounding may go either way everywhere
    assert judged(held(drawn), plainly(drawn)).fair == 0
