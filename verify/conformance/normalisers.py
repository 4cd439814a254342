"""Whether the sums of weights that a form reports are those of the formula, and hazards those of what it reports.

Weights of a row may share a positive factor.  Sums of weights are those of the formula as it is declared, or as it is
with the largest weight of each row 1, as where softmax is shifted; a form with a factor of its own says so, and only
their signs are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import numpy as np
from mpmath import mp

from verify.attention.computed import AttentionOutput
from verify.attention.hazards import Hazards
from verify.attention.variant import Variant
from verify.bounds.pairs import Pairs
from verify.bounds.unit import accumulated
from verify.conformance.allowance import leeway, unit
from verify.conformance.formula import BITS, ExactWeights, TrackedWeights
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.precision import mpmath_precision
from verify.problem import Problem

# What does not happen where float64 holds all on the way.
NEVER = ("nonfinite_state", "overflowed_features")


@dataclass(frozen=True)
class Sums:
    """Exact sums of weights, [..., H, n_q], and how far off computed ones may be; infinite where nothing can be said.

    plain: by the formula as it is declared.  scaled: the same with the largest weight 1.
    """

    plain: Float64Array
    off_plain: Float64Array
    scaled: Float64Array
    off_scaled: Float64Array


def exact_sums(problem: Problem, arithmetic: Arithmetic, exact: ExactWeights, tracked: TrackedWeights) -> Sums:
    """Return the sums Z = sum_t w_t and Z / max_t |w_t|.

    A computed Z is off by what the weights are, e_t and a rounding f to factors, and by a rounding s of the sums for
    each of n keys and one more, each taken L times, as the formula may be arranged otherwise.  Weights that are made of
    features may cancel where the formula has nothing that does, and lose a part f of what other rows are made of:

        D = L (sum_t e_t + (f + (n + 1) s) sum_t |w_t| + f max sum_t |w_t|), the maximum over rows of the head.

    Z / |w_*| is off by D / |w_*|, and by the relative error of w_* itself, L e_* / |w_*|.
    """
    shape = problem.output_shape[:-1]
    found = Sums(*(np.zeros(shape) for _ in range(4)))
    times, f, s = leeway(arithmetic), unit(arithmetic), 2.0**-arithmetic.sums.precision
    tiny = times * (problem.keys + 1) * (arithmetic.factors.smallest + arithmetic.sums.smallest)
    heads = {head.index: head for head in problem.each_head()}
    for index, rows in exact.items():
        attended, off = heads[index].attended(), tracked[index][1]
        with mpmath_precision(BITS):
            sizes = [float(mp.fsum(map(abs, weights))) for weights in rows]
        for row, weights in enumerate(rows):
            if not weights:
                continue
            place, own = (*index, row), off[row, attended[row]]
            with mpmath_precision(BITS):
                largest = max(range(len(weights)), key=lambda t: abs(weights[t]))
                top, total = abs(weights[largest]), mp.fsum(weights)
                found.plain[place] = float(total)
                found.scaled[place] = float(total / top) if top else 0.0
            rounded = (f + (len(weights) + 1) * s) * sizes[row] + f * max(sizes)
            doubt = times * (own.sum() + rounded) + tiny
            found.off_plain[place] = doubt
            with np.errstate(all="ignore"):
                relative = times * own[largest] / float(top)
                moved = doubt / float(top) + (abs(found.scaled[place]) + doubt / float(top)) * relative
                found.off_scaled[place] = (moved + tiny) if relative < 1 else np.inf
    return found


def wrong_sums(
    output: AttentionOutput, variant: Variant, problem: Problem, arithmetic: Arithmetic, rows: list[int], sums: Sums
) -> Iterator[str]:
    """Yield the first row whose sum of weights is another one; all rows have to have the same kind of factor.

    rows: those whose sums are given.
    """
    z = np.asarray(output.normaliser, dtype=np.float64)[..., rows]
    if variant.how.own_factor:
        clear = np.abs(sums.plain) > sums.off_plain
        wrong = np.argwhere(clear & ~((np.sign(z) == np.sign(sums.plain)) & np.isfinite(z)))
        if wrong.size:
            place = tuple(wrong[0])
            yield f"{_row(place, rows)} is {z[place]:.6g}, and by the formula {sums.plain[place]:.6g}, of another sign"
        return
    plain, scaled = _apart(z, sums)
    if plain.any() and scaled.any() and variant.how.rounding is not None:
        plain, scaled = _apart(z, _widened(sums, _relative_bound(variant, problem, arithmetic)[..., rows]))
    if plain.any() and scaled.any():
        place = tuple(np.argwhere(plain if plain.sum() <= scaled.sum() else scaled)[0])
        yield (
            f"{_row(place, rows)} is {z[place]:.6g}; by the formula {sums.plain[place]:.6g}, allowed"
            f" {sums.off_plain[place]:.3g} off, or {sums.scaled[place]:.6g} with the largest weight 1"
        )


def _apart(z: Float64Array, sums: Sums) -> tuple[BoolArray, BoolArray]:
    """Return the rows that are too far from the sums as declared, and those from the sums with the largest weight 1."""
    return (
        ~(np.abs(z - sums.plain) <= sums.off_plain) & np.isfinite(sums.off_plain),
        ~(np.abs(z - sums.scaled) <= sums.off_scaled) & np.isfinite(sums.off_scaled),
    )


def _widened(sums: Sums, relative: Float64Array) -> Sums:
    with np.errstate(invalid="ignore"):  # nothing can be said of 0 times infinity
        off = [
            doubt + relative * np.abs(z) for z, doubt in ((sums.plain, sums.off_plain), (sums.scaled, sums.off_scaled))
        ]
    return replace(sums, off_plain=off[0], off_scaled=off[1])


def _relative_bound(variant: Variant, problem: Problem, arithmetic: Arithmetic) -> Float64Array:
    """Return how far off Z may be by the form's own bound on its weights, over |Z|, [..., H, n_q]: see bounds.outputs.

    sum_t |dw_t|, spread and evaluation times the sum of a_t, and what underflow takes; a factor of the row cancels.
    """
    rounding, found = variant.how.rounding, np.full(problem.output_shape[:-1], np.inf)
    assert rounding is not None
    for head in problem.each_head():
        pairs = Pairs(problem, head, np.arange(problem.queries), arithmetic, accumulated)
        with np.errstate(all="ignore"):
            bound = rounding(pairs, variant.member, **dict(variant.options))
            weights, moved, size = (
                np.where(pairs.attended, x, 0.0).sum(axis=1) for x in (bound.weights, bound.moved, bound.size)
            )
            evaluation = bound.evaluation + (pairs.n + 2) * 2.0**-53
            off = moved + (bound.spread + evaluation) * size + bound.absolute + pairs.n * arithmetic.sums.smallest
            found[head.index] = np.where(weights == 0, np.inf, np.inf if bound.overflows else off / np.abs(weights))
    return found


def _row(place: tuple[Any, ...], rows: list[int]) -> str:
    return f"the sum of weights of row {[*map(int, place[:-1]), rows[place[-1]]]}"


def miscounted(output: AttentionOutput, problem: Problem, arithmetic: Arithmetic, *, plain: bool) -> Iterator[str]:
    """Yield hazards that are no counts, or not those of the output; the inputs are numbers of the arithmetic.

    plain: float64 holds all on the way, so that nothing overflows in it.
    """
    hazards = output.hazards
    for field, count in zip(fields(Hazards), astuple(hazards), strict=True):
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
            yield f"hazards with {field.name} {count!r}; expected a number of times"
            return
    z = np.asarray(output.normaliser).astype(np.float64)
    expected: dict[str, int] = {
        "nonpositive_rows": int((problem.attended_rows & ~((z > 0) & (z < np.inf))).sum()),
        "nonfinite_elements": int((~np.isfinite(output.value.astype(np.float64))).sum()),
        "saturated_inputs": 0,
    }
    if plain and arithmetic.name == "float64":
        expected |= dict.fromkeys(NEVER, 0)
    for name, count in expected.items():
        if getattr(hazards, name) != count:
            yield f"hazards with {name} {getattr(hazards, name)}; the output has {count}"
