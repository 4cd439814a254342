"""Number formats as data, and distances counted in steps from one of their numbers to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Format:
    """A binary floating-point format (IEEE 754-2019, table 3.5).

    precision: significand bits, the hidden one included.  min_exponent: e with 2**e the smallest normal number.
    width: bits of storage.
    """

    name: str
    precision: int
    min_exponent: int
    width: int
    dtype: np.dtype[np.floating]

    @property
    def largest(self) -> float:
        """The largest finite number, (2 - 2**(1 - precision)) 2**(1 - min_exponent)."""
        return (2.0 - 2.0 ** (1 - self.precision)) * 2.0 ** (1 - self.min_exponent)

    def steps(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how many numbers of the format lie from one value to the other, both rounded to the format first.

        The finite numbers of a format are ordered as their bit patterns are, sign and magnitude; 0.0 and -0.0 are one.
        Infinite or NaN where a rounded value is not finite.
        """
        integer = np.dtype(f"int{self.width}")
        with np.errstate(over="ignore", under="ignore"):
            rounded = [values.astype(self.dtype) for values in (one, other)]
        magnitudes = [np.abs(values).view(integer).astype(np.int64) for values in rounded]
        same_side = np.signbit(rounded[0]) == np.signbit(rounded[1])
        apart = np.abs(magnitudes[0] - magnitudes[1]).astype(np.float64)
        across = magnitudes[0].astype(np.float64) + magnitudes[1].astype(np.float64)
        finite = np.isfinite(rounded[0]) & np.isfinite(rounded[1])
        return np.where(finite, np.where(same_side, apart, across), np.inf)


FORMATS = {
    format_.name: format_
    for format_ in (
        Format("float64", precision=53, min_exponent=-1022, width=64, dtype=np.dtype(np.float64)),
        Format("float32", precision=24, min_exponent=-126, width=32, dtype=np.dtype(np.float32)),
    )
}
