"""One error vocabulary for everything: how far two outputs are apart.

A value that is NaN or infinite, or has no exact counterpart, is an infinite error: it is never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arrays import Float64Array
from verify.numbers.formats import Format
from verify.problem import Problem

# Pairs of a query and a key whose logits are held at once.
PAIRS = 1 << 20

# Powers of the logits whose means are kept: a series of more terms is drawn as far as these go.
LOGIT_POWERS = 12

# Correct digits beyond these say nothing: more than any format here has.
MOST_DIGITS = 34.0


class Enclosed(Protocol):
    """Exact values as arrays: |exact - value - residual| <= radius; `verify.truth.Reference` is one."""

    @property
    def value(self) -> Float64Array:
        """The nearest float64 numbers."""

    @property
    def residual(self) -> Float64Array:
        """What is missing in them."""

    @property
    def radius(self) -> Float64Array:
        """How far off both together may be."""


def computed_error(computed: NDArray[Any], exact: Enclosed) -> Float64Array:
    """Return computed - exact, relative accuracy about 2**-53; NaN and infinite where an answer is not finite.

    An error within the radius of the exact value is returned as 0: nobody can tell it from that.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        error: Float64Array = (computed.astype(np.float64) - exact.value) - exact.residual
    return np.where(np.isfinite(error) & (np.abs(error) <= exact.radius), 0.0, error)


def doubt_of(error: Float64Array, radius: Float64Array) -> Float64Array:
    """Return how far off a difference may be that was right to within a radius, and is 0 where that allowed it to be.

    Its centre was then up to a radius from 0 itself.  Elsewhere it was rounded a few times, to float64.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = np.nextafter(radius + 2.0**-50 * np.abs(error), np.inf)
        return np.where(error == 0.0, 2.0 * radius, np.where(radius > 0.0, rounded, radius))


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


def correct_digits(magnitude: Float64Array, origin: Float64Array) -> Float64Array:
    """Return -log10(|e| / |origin|) per element, between 0 and MOST_DIGITS; 0 where the error is not finite."""
    with np.errstate(all="ignore"):
        digits = -np.log10(magnitude / np.abs(origin))
    digits = np.where(magnitude == 0.0, MOST_DIGITS, np.where(np.isnan(digits), 0.0, digits))
    return np.clip(digits, 0.0, MOST_DIGITS)


def row_cosines(found: Float64Array, exact: Float64Array) -> Float64Array:
    """Return the cosine of the angle between rows [n, d_v]; -1 where one is not finite or only one of them is zero."""
    with np.errstate(all="ignore"):
        scaled = [rows / np.abs(rows).max(axis=1, keepdims=True) for rows in (found, exact)]  # no square overflows
        lengths = [np.sqrt(np.square(rows).sum(axis=1)) for rows in scaled]
        cosines = (scaled[0] * scaled[1]).sum(axis=1) / (lengths[0] * lengths[1])
    zero = [(rows == 0.0).all(axis=1) for rows in (found, exact)]
    cosines = np.where(zero[0] & zero[1], 1.0, np.where(zero[0] | zero[1], -1.0, np.clip(cosines, -1.0, 1.0)))
    return np.where(np.isnan(cosines), -1.0, cosines)  # as a row that is not finite makes them


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
    largest, count, mean, deviations = 0.0, 0, 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for _, logits in attended_logits(problem):
            largest = float(np.maximum(largest, np.abs(logits).max()))  # both keep a NaN
            own = float(logits.mean())
            gap, total = own - mean, count + logits.size
            deviations += float(np.square(logits - own).sum()) + gap * gap * count * logits.size / total
            mean += gap * logits.size / total
            count = total
        return largest, float(np.sqrt(deviations / max(1, count)))


def logit_powers(problem: Problem, most: int = LOGIT_POWERS) -> tuple[float, ...]:
    """Return the means of |s|^p over attended pairs, p = 1 .. most, in float64; infinite beyond its range.

    By these the sizes of the terms of a series in the logits are known.
    """
    sums, count = np.zeros(most), 0
    with np.errstate(over="ignore", invalid="ignore"):
        for _, logits in attended_logits(problem):
            size, power = np.abs(logits), np.ones(logits.shape)
            count += logits.size
            for p in range(most):
                power *= size
                sums[p] += power.sum()
        return tuple((sums / max(1, count)).tolist())


def largest_logits(problem: Problem) -> dict[tuple[int, ...], float]:
    """Return the largest |logit| over attended pairs of each head that has some, in float64."""
    found: dict[tuple[int, ...], float] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for index, logits in attended_logits(problem):
            found[index] = float(np.maximum(found.get(index, 0.0), np.abs(logits).max()))  # both keep a NaN
    return found


def attended_logits(problem: Problem) -> Iterator[tuple[tuple[int, ...], Float64Array]]:
    """Yield head and logits of attended pairs in float64, some rows of a head at a time, where there are any."""
    step = max(1, PAIRS // max(1, problem.keys))
    for head in problem.each_head():
        for first in range(0, problem.queries, step):
            rows = slice(first, first + step)
            logits = head.logits(rows)[head.attended(rows)]
            if logits.size:
                yield head.index, logits


@dataclass(frozen=True)
class Metric:
    """One number for an error |e| on exact softmax rows y; larger errors never make it smaller."""

    description: str
    of: Callable[[Float64Array, Float64Array], float]


def _quantile(share: float) -> Callable[[Float64Array, Float64Array], float]:
    return lambda e, y: float(np.quantile(e, share, method="inverted_cdf"))


METRICS = {
    "relative": Metric(
        "||e|| / ||y||, y the exact softmax output",
        lambda e, y: ratio(root_mean_square(e), root_mean_square(np.abs(y))) or 0.0,
    ),
    "rms": Metric("root mean square of |e|, in units of v", lambda e, y: root_mean_square(e)),
    "max": Metric("largest |e|, in units of v", lambda e, y: float(e.max())),
    "median": Metric("median of |e|, in units of v", _quantile(0.5)),
    "q95": Metric("|e| that 95 % of the elements do not exceed", _quantile(0.95)),
    "q99": Metric("|e| that 99 % of the elements do not exceed", _quantile(0.99)),
}
