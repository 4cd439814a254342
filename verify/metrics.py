"""One error vocabulary for everything: how far two outputs are apart.

A value that is NaN or infinite, or has no exact counterpart, is an infinite error: it is never dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.formats import Format
from verify.problem import Float64Array, Problem
from verify.truth import Reference


@dataclass(frozen=True)
class ErrorSummary:
    """Statistics of one error over all elements of an output.

    max, p95, median, rms: of |e|, in units of v.  p95 and median are sample quantiles (inverted distribution function).
    relative: ||e||_2 / ||y||_2 with y the exact softmax output.
    bits_mean, bits_max: bits of error, log2(1 + |e| / ulp), ulp that of the arithmetic's format at the exact value the
    error is measured from; at most the width of the format.
    """

    max: float
    p95: float
    median: float
    rms: float
    relative: float
    bits_mean: float
    bits_max: float


def computed_error(computed: NDArray[Any], exact: Reference) -> Float64Array:
    """Return computed - exact, relative accuracy about 2**-53; NaN and infinite where an answer is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        error: Float64Array = (computed.astype(np.float64) - exact.value) - exact.residual
    return error


def exact_difference(one: Reference, other: Reference) -> Float64Array:
    """Return one - other, both exact, from their 106-bit values."""
    with np.errstate(invalid="ignore", over="ignore"):
        return (one.value - other.value) + (one.residual - other.residual)


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


def ratio(part: float, whole: float) -> float:
    """Return part / whole; 0 / 0 is 0 and anything else over 0, or anything infinite, is infinite."""
    if part == 0.0:
        return 0.0
    if whole == 0.0 or part == np.inf:
        return float(np.inf)
    return part / whole


def summarise(error: Float64Array, origin: Reference, softmax: Reference, format_: Format) -> ErrorSummary:
    """Summarise an error measured from origin, relative to the size of the exact softmax output."""
    size = magnitudes(error)
    median, p95 = np.quantile(size, [0.5, 0.95], method="inverted_cdf")
    bits = bits_of_error(size, origin, format_)
    rms = root_mean_square(size)
    return ErrorSummary(
        max=float(size.max()),
        p95=float(p95),
        median=float(median),
        rms=rms,
        relative=ratio(rms, root_mean_square(np.abs(softmax.value))),
        bits_mean=float(bits.mean()),
        bits_max=float(bits.max()),
    )


def bits_of_error(size: Float64Array, origin: Reference, format_: Format) -> Float64Array:
    """Return log2(1 + |e| / ulp(exact)) per element, as Herbie reports errors; the format's width if infinite."""
    ulps = size / format_.ulp(np.where(np.isfinite(origin.value), origin.value, 0.0))
    return np.where(np.isfinite(ulps), np.minimum(np.log2(1.0 + ulps), format_.width), float(format_.width))


def skill(error: Float64Array, null_error: Float64Array) -> float:
    """Return 1 - ||e|| / ||e_null||: 1 is exact, 0 is no better than the null prediction, below 0 is worse."""
    return 1.0 - ratio(root_mean_square(magnitudes(error)), root_mean_square(magnitudes(null_error)))


def logit_statistics(problem: Problem) -> tuple[float, float]:
    """Return the largest |logit| and the standard deviation of the logits over attended pairs, in float64."""
    scale = problem.head_size**-0.5 if problem.scale is None else problem.scale
    largest, count, total, squares = 0.0, 0, 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float64 the statistics are infinite or NaN, and say so
        for head in problem.each_head():
            logits = (scale * (head.q @ head.k.T))[head.attended]
            largest = max(largest, float(np.abs(logits).max(initial=0.0)))
            count += logits.size
            total += float(logits.sum())
            squares += float(np.square(logits).sum())
        mean = total / max(1, count)
        return largest, float(np.sqrt(np.maximum(0.0, squares / max(1, count) - mean * mean)))
