"""Named precision policies: which format inputs, operations and outputs of a mechanism are held in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import InvalidRequestError
from verify.formats import FORMATS, Format


@dataclass(frozen=True)
class Arithmetic:
    """One policy: every input is rounded to the format and every operation and output is carried out in it."""

    name: str
    format: Format

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type that computes in this arithmetic."""
        return self.format.dtype

    def taken(self, values: NDArray[np.float64]) -> NDArray[Any]:
        """Return inputs, or constants, as this arithmetic takes them: rounded to its format, overflow to infinity."""
        with np.errstate(over="ignore", under="ignore"):
            return values.astype(self.dtype)


ARITHMETICS = {name: Arithmetic(name, FORMATS[name]) for name in ("float64", "float32")}


def named_arithmetic(name: str) -> Arithmetic:
    """Return the arithmetic called name; InvalidRequestError names the known ones."""
    try:
        return ARITHMETICS[name]
    except KeyError:
        raise InvalidRequestError(
            f"unknown arithmetic {name!r}", "one of " + ", ".join(ARITHMETICS), "choose one of these"
        ) from None
