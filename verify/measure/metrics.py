"""One error vocabulary for everything: how far two outputs are apart.

A value that is NaN or infinite, or has no exact counterpart, is an infinite error: it is never dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arrays import Float64Array
from verify.numbers.formats import Format


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


def skill(size: float, null: float) -> float | None:
    """Return 1 - ||e|| / ||e_null||, of root mean squares of errors.

    1 is exact, 0 is no better than the null prediction, below 0 is worse.  None where the null prediction has no error:
    there is nothing to be better than.
    """
    share = ratio(size, null)
    return None if null == 0.0 or share is None else 1.0 - share


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
