"""Where it is fair to demand that outputs agree bit by bit with the exact one, correctly rounded.

Rounding is the last step.  Where the exact value is nearer to a boundary, at which rounding goes the other way, than
what careful computations are off by before that step, some of them end on the other side.
"""

from __future__ import annotations

import numpy as np

from verify.measure.metrics import Enclosed
from verify.numbers.arrays import BoolArray, Float64Array
from verify.numbers.formats import Format


def boundary_margins(exact: Enclosed, format_: Format) -> Float64Array:
    """Return how far exact values are from the nearest boundary between two numbers of a format, at least.

    Boundaries lie half-way between neighbours; 0 where a value is beyond the largest number.  Less the radius of the
    exact value.
    """
    rounded = format_.rounded(exact.value).astype(np.float64)
    finite = np.isfinite(rounded)
    rounded = np.where(finite, rounded, 0.0)
    mantissa, exponent = np.frexp(np.abs(rounded))
    lowest = format_.min_exponent
    step = np.ldexp(1.0, np.maximum(np.where(rounded == 0.0, lowest, exponent - 1), lowest) - format_.precision + 1)
    # below a power of two numbers are twice as dense, but for the smallest normal one
    inner = np.where((mantissa == 0.5) & (exponent - 1 > lowest), step / 2, step)
    sign = np.where(rounded == 0.0, np.where(exact.value < 0.0, -1.0, 1.0), np.sign(rounded))  # away from zero
    with np.errstate(invalid="ignore"):
        beyond, missing = sign * (exact.value - rounded), sign * exact.residual
        outer, inner = (
            np.abs(step / 2 - beyond - missing),
            np.where(rounded == 0.0, np.inf, inner / 2 + beyond + missing),
        )
    margin = np.minimum(outer, inner)
    return np.where(finite, np.maximum(margin - exact.radius, 0.0), 0.0)


def fair_demands(exact: Enclosed, before: Float64Array, format_: Format) -> BoolArray:
    """Return the elements in which a careful computation ends at the correctly rounded value.

    before: what rows may be off by before they are rounded to the format, [..., H, n_q].
    """
    fair: BoolArray = boundary_margins(exact, format_) > before[..., None]
    return fair


def agreeing(output: Float64Array, exact: Enclosed, format_: Format) -> BoolArray:
    """Return the elements that are the correctly rounded exact values; zeros of either sign are one."""
    same: BoolArray = output == format_.rounded(exact.value).astype(np.float64)
    return same
