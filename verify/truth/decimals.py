"""Balls as decimals: centres in full digits as text, and radii around those."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from verify.numbers.arrays import Float64Array
from verify.numbers.balls import Balls

# Digits written beyond those asked for: about what the guard bits of the enclosures hold.
MORE_DIGITS = 20

# The last digit written is worth at most this part of the radius, so that rounding to it hardly widens the ball.
_FINENESS = 128


def decimals(balls: Balls, digits: int) -> tuple[NDArray[np.str_], Float64Array]:
    """Return the centres in decimal and radii around those: |exact - decimal| <= radius, for every element.

    A decimal goes as far as its ball is narrow, but has at most `digits` + 20 significant digits.  A centre known
    exactly that needs no more is written in full, with radius 0.  Where there is no value: "nan" and NaN.
    """
    texts = np.full(balls.shape, "nan", dtype=object)
    radius = np.full(balls.shape, np.nan)
    defined = balls.defined
    for index in np.ndindex(balls.shape):
        if not defined[index]:
            continue
        mantissa, exponent = int(balls.mantissa[index]), int(balls.exponent[index])
        width = float(balls.radius_mantissa[index]), int(balls.radius_exponent[index])
        places = _places(mantissa, exponent, width if width[0] else None, digits + MORE_DIGITS)
        units, exact = _in_units(mantissa, exponent, places)
        texts[index] = _scientific(units, places)
        radius[index] = balls.radius[index]
        if not exact:  # rounded to nearest: half a unit more, and this sum rounded up
            half = math.nextafter(float(f"5e{-places - 1}"), math.inf)
            radius[index] = math.nextafter(radius[index] + half, math.inf)
    return texts.astype(np.str_), radius


def _places(mantissa: int, exponent: int, width: tuple[float, int] | None, most: int) -> int:
    """Return how many decimal places to write, negative if not even all digits before the point.

    With 2**(b - 1) <= |c| < 2**b for b bits, and a radius of at least 2**(radius exponent - 1).
    """
    bounds = []
    if mantissa:
        leading = math.floor((mantissa.bit_length() + exponent) * math.log10(2))  # or one too large
        bounds.append(most - 1 - leading)
    if width:
        bounds.append(math.ceil(math.log10(_FINENESS) - (width[1] - 1) * math.log10(2)))
    return min(bounds, default=0)


def _in_units(mantissa: int, exponent: int, places: int) -> tuple[int, bool]:
    """Return mantissa 2**exponent in units of 10**-places, rounded to nearest, and whether that is exact."""
    numerator = mantissa * _power_of_ten(max(0, places)) << max(0, exponent)
    denominator = _power_of_ten(max(0, -places)) << max(0, -exponent)
    units, left = divmod(2 * numerator + denominator, 2 * denominator)
    return units, left == denominator


@lru_cache(maxsize=1024)
def _power_of_ten(exponent: int) -> int:
    return int(10**exponent)


def _scientific(units: int, places: int) -> str:
    """Return units 10**-places as -d.ddde-dd, without zeros at the end."""
    if not units:
        return "0"
    digits = str(abs(units))
    exponent = len(digits) - 1 - places
    digits = digits.rstrip("0")
    mantissa = digits[0] + ("." + digits[1:] if digits[1:] else "")
    return f"{'-' if units < 0 else ''}{mantissa}e{exponent}"
