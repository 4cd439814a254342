"""Whether an output is as near to the exact one as a careful computation in its arithmetic would be: row by row.

A row is judged by the root mean square e of its errors.  What is allowed is

    FACTOR (c + f),

c the largest such error of the mechanism's own forms in the same arithmetic on the same row, f the derived floor of
`verify.check.noise`.  The floor alone never passes a case: where the tolerance is no small part of what answering zero,
or the mean of the values, would lose, right and wrong cannot be told apart, whatever the output is, and the case is
undecidable.  That part is the resolution; it does not depend on the number of keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.attention.variant import Variant
from verify.check.agreement import agreeing, fair_demands
from verify.check.noise import row_noise
from verify.measure.metrics import Enclosed, computed_error, magnitudes, ratio, root_mean_square
from verify.mechanisms.registry import null_prediction
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import BoolArray, Float64Array
from verify.problem import Problem
from verify.truth import Reference

# Fifty careful computations that differ in order, chunks, scaling and exponentials (`tests/check/variants`) are within
# 1.1 of c + f on every case; what sums up in a format with three bits less is eight times as far off.
FACTOR = 4.0

# The tolerance may be this part of what zeros or the mean of the values lose: outputs wrong by a tenth are told apart.
RESOLUTION = 0.1


class Verdict(StrEnum):
    """What became of a case."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDABLE = "undecidable"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class Worst:
    """One of the worst elements: where it is, what was computed, and the exact value with its radius, as numbers."""

    index: tuple[int, ...]
    got: float
    expected: float
    radius: float


@dataclass(frozen=True)
class Judgement:
    """What is known of an output.

    ulps, most_ulps: numbers of the output's format from exact to computed value, the median and the most over elements;
    the most tell little, for near zero the numbers are dense.  relative: ||e|| / ||y||.  ratio:
    the largest e / (c + f) of a row, FACTOR at most where the output passes.  conventional: ||e|| of this output
    divided by that of the mechanism's first form.  resolution: the tolerance as a part of what zeros, or the mean of
    the values, lose.  elements: how many were judged; fair: those in which bitwise agreement with the rounded exact
    value is a fair demand (`verify.check.agreement`); agreeing: those of them that agree.  reason: in words, where it
    fails or is undecidable.  worst: elements, the worst first.
    """

    verdict: Verdict
    ulps: float
    most_ulps: float
    relative: float
    ratio: float
    conventional: float | None
    resolution: float
    elements: int
    fair: int
    agreeing: int
    reason: str = ""
    worst: tuple[Worst, ...] = ()


@dataclass(frozen=True, eq=False)
class Standard:
    """What outputs of one problem are held against.

    rows: those that are judged, [..., H, n_q]: that see a key, and in which all forms of ours are finite.  allowed: the
    tolerance of each, as a root mean square; before: that before the output is rounded.  usual: the output of the
    mechanism's first form, [..., H, n_q, d_v], None where none serves; first: the size of its errors.  lost: what zeros
    and what the mean of the values lose.
    """

    problem: Problem
    exact: Enclosed
    arithmetic: Arithmetic
    rows: BoolArray
    allowed: Float64Array
    before: Float64Array
    usual: Float64Array | None
    first: float
    lost: tuple[tuple[str, float], ...]

    @property
    def resolution(self) -> float:
        """The tolerance as a part of what the nearer of the trivial answers loses."""
        if not self.lost:
            return 0.0
        part = ratio(root_mean_square(self.allowed[self.rows]), min(size for _, size in self.lost))
        return np.inf if part is None else part  # nothing is lost and nothing allowed: there is nothing to be told


def row_sizes(error: Float64Array) -> Float64Array:
    """Return the root mean square of each row of errors, infinite where one is NaN."""
    size = magnitudes(error)
    largest = size.max(axis=-1, keepdims=True, initial=0.0)
    with np.errstate(all="ignore"):
        scaled = np.where(largest > 0.0, size / largest, 0.0)
        sizes: Float64Array = largest[..., 0] * np.sqrt(np.mean(np.square(scaled), axis=-1))
    return np.where(np.isinf(largest[..., 0]), np.inf, sizes)


def certified_standard(exact: Reference, arithmetic: Arithmetic, *, weigh_trivial: bool = True) -> Standard:
    """Return what outputs of a problem are held against, by its certified values; see `standard`."""
    undefined = exact.undefined_rows
    return standard(exact.problem, exact.member, exact, arithmetic, undefined=undefined, weigh_trivial=weigh_trivial)


def standard(
    problem: Problem,
    member: Member,
    exact: Enclosed,
    arithmetic: Arithmetic,
    *,
    undefined: BoolArray | None = None,
    weigh_trivial: bool = True,
) -> Standard:
    """Return what outputs of a problem are held against.

    undefined: rows in which there is no exact value.  weigh_trivial: False where the mean of the values is a right
    answer, and something else is to be shown.
    """
    rows = problem.attended_rows if undefined is None else problem.attended_rows & ~undefined
    outputs = _conventional(problem, member, arithmetic)
    errors = [row_sizes(computed_error(output, exact)) for output in outputs]
    if errors:
        rows = rows & np.isfinite(errors).all(axis=0)  # where a form of ours overflows, nobody is asked for more
    conventional = np.where(np.isfinite(errors), errors, 0.0).max(axis=0) if errors else np.zeros(rows.shape)
    floor = row_noise(problem, member, exact.value, arithmetic)
    rows = rows & np.isfinite(floor.size)  # squares of logits beyond 1e154 are no numbers of float64
    lost = []
    if weigh_trivial and rows.any():
        null = null_prediction()
        answers = {"zeros": np.zeros(problem.output_shape)}
        if member.mechanism is not null.mechanism:
            answers["the mean of v"] = Variant(null, null.mechanism.forms[0].name).run(problem, "float64").value
        lost = [(name, root_mean_square(row_sizes(exact.value - y)[rows])) for name, y in answers.items()]
    return Standard(
        problem=problem,
        exact=exact,
        arithmetic=arithmetic,
        rows=rows,
        allowed=FACTOR * (conventional + floor.size),
        before=FACTOR * floor.before,
        usual=outputs[0].astype(np.float64) if outputs else None,
        first=root_mean_square(errors[0][rows]) if errors and rows.any() else 0.0,
        lost=tuple(lost),
    )


def _conventional(problem: Problem, member: Member, arithmetic: Arithmetic) -> list[NDArray[np.float64]]:
    """Return the outputs of all forms that serve the problem, in the arithmetic."""
    variants = [Variant(member, form.name) for form in member.mechanism.forms]
    return [v.run(problem, arithmetic.name).value for v in variants if v.refusal(problem) is None]


def judged(own: Standard, output: NDArray[np.float64]) -> Judgement:
    """Return what is to be said of an output in float64, [..., H, n_q, d_v].

    Rows that see no key are left out: they are judged apart, for libraries differ.
    """
    exact, rows = own.exact, own.rows
    error = computed_error(output, exact)
    sizes = row_sizes(error)
    with np.errstate(all="ignore"):
        ratios = np.where(sizes == 0.0, 0.0, sizes / (own.allowed / FACTOR))[rows]
    found = error[rows]
    ulps = own.arithmetic.output.steps(output[rows], exact.value[rows])
    size = root_mean_square(row_sizes(exact.value)[rows]) if rows.any() else 0.0
    mine = root_mean_square(magnitudes(found))
    worst = float(ratios.max(initial=0.0))
    verdict, reason = Verdict.PASSED, ""
    if worst > FACTOR:
        verdict, reason = Verdict.FAILED, _failure(own, ratios, output[rows])
    elif not rows.any():
        verdict, reason = Verdict.UNDECIDABLE, "there is no row to be judged"
    elif own.resolution > RESOLUTION:
        nearer = min(own.lost, key=lambda one: one[1])[0]
        verdict = Verdict.UNDECIDABLE
        reason = f"{nearer} would be within {1 / own.resolution:.2g} tolerances: right and wrong cannot be told apart"
    fair = fair_demands(exact, own.before, own.arithmetic.output)[rows]
    same = agreeing(output, exact, own.arithmetic.output)[rows][fair]
    return Judgement(
        verdict,
        float(np.median(ulps)) if ulps.size else 0.0,
        float(ulps.max(initial=0.0)),
        ratio(mine, size) or 0.0,
        worst,
        ratio(mine, own.first),
        own.resolution,
        fair.size,
        int(np.count_nonzero(fair)),
        int(np.count_nonzero(same)),
        reason,
        _worst(own, output, error) if verdict == Verdict.FAILED else (),
    )


def _failure(own: Standard, ratios: Float64Array, output: Float64Array) -> str:
    bad = int(np.count_nonzero(~(ratios <= FACTOR)))
    share = f"{bad} of {len(ratios)} rows"
    lost = int(np.count_nonzero(~np.isfinite(output)))
    if lost:
        return f"{share} are off, and {lost} of {output.size} elements are not finite"
    return f"{share} are off by up to {float(ratios.max()):.3g} times what rounding explains; {FACTOR:g} is allowed"


def _worst(own: Standard, output: Float64Array, error: Float64Array, most: int = 5) -> tuple[Worst, ...]:
    size = np.where(own.rows[..., None], magnitudes(error), -1.0)
    order = np.argsort(-size, axis=None, kind="stable")[:most]
    places = [tuple(int(i) for i in np.unravel_index(place, size.shape)) for place in order]
    return tuple(
        Worst(place, float(output[place]), float(own.exact.value[place]), float(own.exact.radius[place]))
        for place in places
        if size[place] > 0.0
    )
