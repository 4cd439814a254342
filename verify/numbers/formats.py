"""Number formats as data, and distances counted in steps from one of their numbers to the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import fmod, frexp, ldexp
from operator import index
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError, unknown


@dataclass(frozen=True)
class Format:
    """A binary floating-point format (IEEE 754-2019, table 3.5; OCP 8-bit floating point 1.0, table 1).

    precision: significand bits, the hidden one included.  min_exponent: e with 2**e the smallest normal number.
    width: bits of storage.  infinity: whether there are infinities; without them the highest exponent holds numbers
    too, but for the largest significand, which is NaN.
    """

    name: str
    precision: int
    min_exponent: int
    width: int
    dtype: np.dtype[Any]
    infinity: bool = True

    @cached_property
    def largest(self) -> float:
        """The largest finite number."""
        if self.infinity:
            return (2.0 - 2.0 ** (1 - self.precision)) * 2.0 ** (1 - self.min_exponent)
        return (2.0 - 2.0 ** (2 - self.precision)) * 2.0 ** (2 - self.min_exponent)

    @cached_property
    def smallest(self) -> float:
        """The smallest positive number, 2**(min_exponent - precision + 1)."""
        return 2.0 ** (self.min_exponent - self.precision + 1)

    def rounded(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return float64 or float32 numbers in this format's numpy type: to nearest, ties to even, rounded once.

        Overflow becomes infinity, or NaN where there is none.  numpy's own types are rounded correctly from float64;
        the others only from float32, so that float64 goes there by rounding to odd, which a second rounding to at most
        22 bits does not notice (S. Boldo and G. Melquiond, IEEE Trans. Comput. 57(4), 2008).
        """
        if values.dtype == self.dtype:
            return values.astype(self.dtype)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if values.dtype == np.float64 and not issubclass(self.dtype.type, np.floating):
                return _rounded_to_odd(values).astype(self.dtype)
            return values.astype(self.dtype)

    def holds(self, value: float) -> bool:
        """Return whether a finite float64 number is one of the format."""
        exponent = max(frexp(value)[1] - 1, self.min_exponent)
        return abs(value) <= self.largest and fmod(value, ldexp(1.0, exponent - self.precision + 1)) == 0

    def steps(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how many numbers of the format lie from one value to the other, both rounded to the format first.

        The finite numbers of a format are ordered as their bit patterns are, sign and magnitude; 0.0 and -0.0 are one.
        Infinite or NaN where a rounded value is not finite.
        """
        integer = np.dtype(f"int{self.width}")
        rounded = [self.rounded(values) for values in (one, other)]
        magnitudes = [np.abs(values).view(integer).astype(np.int64) for values in rounded]
        same_side = np.signbit(rounded[0]) == np.signbit(rounded[1])
        apart = np.abs(magnitudes[0] - magnitudes[1]).astype(np.float64)
        across = magnitudes[0].astype(np.float64) + magnitudes[1].astype(np.float64)
        finite = np.isfinite(rounded[0]) & np.isfinite(rounded[1])
        return np.where(finite, np.where(same_side, apart, across), np.inf)


def _rounded_to_odd(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return float64 numbers in float32: toward zero, with the last bit set where anything was cut off."""
    nearest = values.astype(np.float32)
    back = nearest.astype(np.float64)
    cut = np.where(np.abs(back) > np.abs(values), np.nextafter(nearest, np.float32(0)), nearest)
    return np.where(back == values, nearest, (cut.view(np.int32) | 1).view(np.float32))


FORMATS = {
    format_.name: format_
    for format_ in (
        Format("float64", 53, -1022, 64, np.dtype(np.float64)),
        Format("float32", 24, -126, 32, np.dtype(np.float32)),
        Format("float16", 11, -14, 16, np.dtype(np.float16)),
        Format("bfloat16", 8, -126, 16, np.dtype(ml_dtypes.bfloat16)),
        Format("float8_e4m3fn", 4, -6, 8, np.dtype(ml_dtypes.float8_e4m3fn), infinity=False),
        Format("float8_e5m2", 3, -14, 8, np.dtype(ml_dtypes.float8_e5m2)),
    )
}


def named_format(name: str | Format) -> Format:
    """Return the format called name, or one that is given itself; InvalidRequestError names the known ones."""
    if isinstance(name, Format):
        return name
    try:
        return FORMATS[name]
    except (KeyError, TypeError):
        raise unknown(f"unknown format {name!r}", name, FORMATS) from None


def stored_bytes(numbers: int, format_: str | Format) -> int:
    """Return the bytes that so many numbers take in a format; InvalidRequestError for what is no number of them."""
    width = named_format(format_).width
    try:
        count = -1 if isinstance(numbers, bool) else index(numbers)  # Python's own integers do not wrap
    except TypeError:
        count = -1
    if count < 0:
        raise InvalidRequestError(f"numbers {numbers!r}", "an integer of at least 0", "correct it")
    return count * width // 8
