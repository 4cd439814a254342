"""Number formats as data, and distances counted in their units in the last place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError


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

    def ulp(self, exact: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the spacing of the format in the binade of each exact value.

        ulp(x) = 2**(max(floor(log2|x|), min_exponent) - precision + 1); zero counts as the smallest normal binade.
        """
        _, exponent = np.frexp(exact)  # |x| in [2**(exponent-1), 2**exponent)
        floor_log2 = np.where(exact == 0.0, self.min_exponent, exponent - 1)
        spacing: NDArray[np.float64] = np.ldexp(1.0, np.maximum(floor_log2, self.min_exponent) - self.precision + 1)
        return spacing


FORMATS = {
    format_.name: format_
    for format_ in (
        Format("float64", precision=53, min_exponent=-1022, width=64, dtype=np.dtype(np.float64)),
        Format("float32", precision=24, min_exponent=-126, width=32, dtype=np.dtype(np.float32)),
    )
}


def number_format(name: str) -> Format:
    """Return the format called name; InvalidRequestError names the known ones."""
    try:
        return FORMATS[name]
    except KeyError:
        raise InvalidRequestError(
            f"unknown number format {name!r}", "one of " + ", ".join(FORMATS), "choose one of these"
        ) from None
