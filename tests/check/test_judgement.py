"""The rule: what careful computations reach passes, whatever the number of keys; what is wrong never does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verify.check import judgement
from verify.check.judgement import FACTOR, RESOLUTION, Standard, Verdict, certified_standard, judged, row_sizes
from verify.check.noise import row_noise
from verify.errors import InvalidRequestError
from verify.mechanisms import named_member
from verify.numbers.arithmetic import named_arithmetic
from verify.numbers.arrays import Float64Array
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


def test_sums_in_sixteen_bits_are_not_passed_at_length() -> None:
    """The floor grows with the keys where sums are narrow: it then excuses nothing, for nothing is decided."""
    own = held(problem(4096).rounded("bfloat16"), "bfloat16")
    assert own.resolution > RESOLUTION
    zeros = judged(own, np.zeros(own.problem.output_shape))
    assert zeros.verdict in (Verdict.FAILED, Verdict.UNDECIDABLE)


def test_a_weaker_rule_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An absolute tolerance, as others have it, lets impostors through at length: the tests above would fail."""
    floor = row_noise

    def with_tolerance(*given: object) -> Float64Array:
        return floor(*given) + 1e-2  # type: ignore[arg-type]

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
        floor = row_noise(own, exact.member, exact.value, named_arithmetic(name))
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
