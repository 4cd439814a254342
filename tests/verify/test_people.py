"""Biases, caps, sinks, windows, lengths, segments, slopes and dropout together: against plain loops, and rationals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mpmath import mp

from tests.people import BITS, answer, drawn, seen_by
from verify.numbers.precision import mpmath_precision
from verify.problem import Problem
from verify.truth import reference
from verify.truth.certificate import certified

DIGITS = 30
COUNT = 250
WEIGHTS: dict[str, Any] = {
    "softmax": mp.exp,
    "taylor:order=2": lambda s: 1 + s + s * s / 2,
    "taylor:order=3": lambda s: 1 + s + s * s / 2 + s**3 / 6,
    "power:degree=2": lambda s: s * s,
}


def outside(truth: Any, expected: Any) -> list[tuple[int, ...]]:
    """Return the elements that lie outside their ball."""
    with mpmath_precision(BITS):
        found = truth.to_mpf()
        return [
            place
            for place in np.ndindex(found.shape)
            if not (mp.isnan(expected[place]) and np.isnan(truth.value[place]))
            and not abs(found[place] - expected[place])
            <= mp.mpf(float(truth.radius[place])) + abs(expected[place]) * mp.mpf(2) ** -400
        ]


@pytest.mark.parametrize("part", range(8))
def test_plain_loops_lie_in_every_ball(part: int) -> None:
    rationals = 0
    for seed in range(part * COUNT, (part + 1) * COUNT):
        given = drawn(seed, most=6 if seed % 10 == 0 else 4)
        name = list(WEIGHTS)[seed % 8 if seed % 8 < 4 else 0]
        problem = Problem(**given, name=f"problem {seed}")
        truth = reference(problem, DIGITS, name)
        expected, _ = answer(given, WEIGHTS[name])
        assert not outside(truth, expected), (seed, name)
        if problem.heads * problem.queries * problem.keys <= 30:
            rationals += certified(truth, rational_limit=100).rational
        for b, h in np.ndindex(*given["q"].shape[:2]):
            seen = problem.attended
            rows = [seen_by(given, b, h, i) for i in range(problem.queries)]
            found = [
                list(range(problem.keys)) if seen is None else np.flatnonzero(row).tolist()
                for row in (seen[b, h] if seen is not None else rows)
            ]
            assert found == rows, seed
    assert rationals > 100
