"""One error vocabulary for everything: how far two outputs are apart.

A value that is NaN or infinite, or has no exact counterpart, is an infinite error: it is never dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.formats import Format
from verify.problem import Problem
from verify.truth import Reference

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

# Correct digits beyond these say nothing: more than any format here has.
MOST_DIGITS = 34.0


@dataclass(frozen=True)
class ErrorSummary:
    """Statistics of one error over all elements of the rows that attend to something.

    max, q05 .. q99, rms: of |e|, in units of v; the quantiles are sample quantiles (inverted distribution function).
    relative: ||e||_2 / ||y||_2 with y the exact softmax output.
    bits_mean, bits_max: bits of error, log2(1 + steps in the arithmetic's format between the two values the error lies
    between); the width of the format where one is not finite.
    digits_min, digits_median: correct digits, -log10(|e| / |origin|), between 0 and MOST_DIGITS.
    unresolved: elements whose error is not above the radius of the exact value it is measured against, counted as 0.
    """

    max: float
    q05: float
    q25: float
    q50: float
    q75: float
    q95: float
    q99: float
    rms: float
    relative: float
    bits_mean: float
    bits_max: float
    digits_min: float
    digits_median: float
    unresolved: int


@dataclass(frozen=True)
class RowSummary:
    """How whole output rows compare with exact ones.

    cosine_mean, cosine_min: of the angle between computed and exact row, 1 if both are zero, and -1, the worst there
    is, where a row is not finite or only one of the two is zero.  by_position: (first, last, root mean square error) of
    queries in that span.
    """

    cosine_mean: float
    cosine_min: float
    by_position: tuple[tuple[int, int, float], ...]


def computed_error(computed: NDArray[Any], exact: Reference) -> Float64Array:
    """Return computed - exact, relative accuracy about 2**-53; NaN and infinite where an answer is not finite.

    An error within the radius of the exact value is returned as 0: nobody can tell it from that.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        error: Float64Array = (computed.astype(np.float64) - exact.value) - exact.residual
    return np.where(np.abs(error) <= exact.radius, 0.0, error)


def magnitudes(error: Float64Array) -> Float64Array:
    """Return |e| with every NaN replaced by infinity, the largest error there is."""
    size = np.abs(error)
    return np.where(np.isnan(size), np.inf, size)


def root_mean_square(size: Float64Array) -> float:
    """Return sqrt(mean e^2), scaled by the largest so that no square overflows or underflows."""
    largest = float(size.max(initial=0.0))
    if largest == 0.0 or largest == np.inf:
        return largest
    return largest * float(np.sqrt(np.mean(np.square(size / largest))))


def ratio(part: float, whole: float) -> float | None:
    """Return part / whole; infinite where only the whole is 0 or the part is infinite, None for 0 / 0."""
    if whole == 0.0 and part == 0.0:
        return None
    if whole == 0.0 or part == np.inf:
        return float(np.inf)
    return part / whole


def summarise(
    error: Float64Array,
    found: Float64Array,
    origin: Float64Array,
    size: float,
    format_: Format,
    radius: Float64Array | float = 0.0,
) -> ErrorSummary:
    """Summarise the error of found against origin.

    size: the root mean square of the exact softmax output.  radius: how far off the exact value may be, which matters
    where the error is no larger.
    """
    magnitude = magnitudes(error)
    quantiles = np.quantile(magnitude, QUANTILES, method="inverted_cdf").tolist()
    bits = bits_of_error(found, origin, format_)
    digits = correct_digits(magnitude, origin)
    rms = root_mean_square(magnitude)
    q05, q25, q50, q75, q95, q99 = quantiles
    return ErrorSummary(
        max=float(magnitude.max()),
        q05=q05,
        q25=q25,
        q50=q50,
        q75=q75,
        q95=q95,
        q99=q99,
        rms=rms,
        relative=ratio(rms, size) or 0.0,  # no error at all is none of anything
        bits_mean=float(bits.mean()),
        bits_max=float(bits.max()),
        digits_min=float(digits.min()),
        digits_median=float(np.quantile(digits, 0.5, method="inverted_cdf")),
        unresolved=int(np.count_nonzero((magnitude <= radius) & (np.asarray(radius) > 0.0) & (found != origin))),
    )


def correct_digits(magnitude: Float64Array, origin: Float64Array) -> Float64Array:
    """Return -log10(|e| / |origin|) per element, between 0 and MOST_DIGITS; 0 where the error is not finite."""
    with np.errstate(all="ignore"):
        digits = -np.log10(magnitude / np.abs(origin))
    digits = np.where(magnitude == 0.0, MOST_DIGITS, np.where(np.isnan(digits), 0.0, digits))
    return np.clip(digits, 0.0, MOST_DIGITS)


def compare_rows(found: Float64Array, error: Float64Array, exact: Float64Array, rows: BoolArray) -> RowSummary:
    """Compare output rows [..., n_q, d_v]; rows [..., n_q]: those that attend to something."""
    cosines = row_cosines(found[rows], exact[rows])
    positions = np.broadcast_to(np.arange(rows.shape[-1]), rows.shape)[rows]
    size = magnitudes(error[rows])
    spans = []
    first = 0
    while first < rows.shape[-1]:
        last = min(max(2 * first - 1, first), rows.shape[-1] - 1)
        chosen = (positions >= first) & (positions <= last)
        if chosen.any():
            spans.append((first, last, root_mean_square(size[chosen])))
        first = last + 1
    return RowSummary(float(cosines.mean()), float(cosines.min()), tuple(spans))


def row_cosines(found: Float64Array, exact: Float64Array) -> Float64Array:
    """Return the cosine of the angle between rows [n, d_v]; -1 where one is not finite or only one of them is zero."""
    with np.errstate(all="ignore"):
        scaled = [rows / np.abs(rows).max(axis=1, keepdims=True) for rows in (found, exact)]  # no square overflows
        lengths = [np.sqrt(np.square(rows).sum(axis=1)) for rows in scaled]
        cosines = (scaled[0] * scaled[1]).sum(axis=1) / (lengths[0] * lengths[1])
    zero = [(rows == 0.0).all(axis=1) for rows in (found, exact)]
    finite = np.isfinite(found).all(axis=1) & np.isfinite(exact).all(axis=1)
    cosines = np.where(zero[0] & zero[1], 1.0, np.where(zero[0] | zero[1] | ~finite, -1.0, cosines))
    return np.clip(np.where(np.isnan(cosines), -1.0, cosines), -1.0, 1.0)


def bits_of_error(found: Float64Array, origin: Float64Array, format_: Format) -> Float64Array:
    """Return log2(1 + steps) per element, Herbie's bits of error; the format's width where a value is not finite."""
    steps = format_.steps(found, origin)
    return np.where(np.isfinite(steps), np.log2(1.0 + steps), float(format_.width))


def skill(error: Float64Array, null_error: Float64Array) -> float | None:
    """Return 1 - ||e|| / ||e_null||: 1 is exact, 0 is no better than the null prediction, below 0 is worse.

    None where the null prediction has no error: there is nothing to be better than.
    """
    null = root_mean_square(magnitudes(null_error))
    share = ratio(root_mean_square(magnitudes(error)), null)
    return None if null == 0.0 or share is None else 1.0 - share


def logit_statistics(problem: Problem) -> tuple[float, float]:
    """Return the largest |logit| and the standard deviation of the logits over attended pairs, in float64.

    NaN or infinite where the logits leave float64.  Means and sums of squared deviations are merged head by head (Chan,
    Golub and LeVeque, The American Statistician 37(3), 1983).
    """
    scale = problem.head_size**-0.5 if problem.scale is None else problem.scale
    largest, count, mean, deviations = 0.0, 0, 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for head in problem.each_head():
            logits = ((scale * head.q) @ head.k.T)[head.attended()]
            if logits.size == 0:
                continue
            largest = float(np.maximum(largest, np.abs(logits).max()))  # both keep a NaN
            own = float(logits.mean())
            gap, total = own - mean, count + logits.size
            deviations += float(np.square(logits - own).sum()) + gap * gap * count * logits.size / total
            mean += gap * logits.size / total
            count = total
        return largest, float(np.sqrt(deviations / max(1, count)))
