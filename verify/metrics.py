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
    """Statistics of one error over all elements of the rows that attend to something.

    max, p95, median, rms: of |e|, in units of v.  p95 and median are sample quantiles (inverted distribution function).
    relative: ||e||_2 / ||y||_2 with y the exact softmax output.
    bits_mean, bits_max: bits of error, log2(1 + steps in the arithmetic's format between the two values the error lies
    between); the width of the format where one is not finite.
    """

    max: float
    p95: float
    median: float
    rms: float
    relative: float
    bits_mean: float
    bits_max: float


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
    error: Float64Array, found: Float64Array, origin: Float64Array, size: float, format_: Format
) -> ErrorSummary:
    """Summarise the error of found against origin; size is the root mean square of the exact softmax output."""
    magnitude = magnitudes(error)
    median, p95 = np.quantile(magnitude, [0.5, 0.95], method="inverted_cdf")
    bits = bits_of_error(found, origin, format_)
    rms = root_mean_square(magnitude)
    return ErrorSummary(
        max=float(magnitude.max()),
        p95=float(p95),
        median=float(median),
        rms=rms,
        relative=ratio(rms, size) or 0.0,  # no error at all is none of anything
        bits_mean=float(bits.mean()),
        bits_max=float(bits.max()),
    )


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
