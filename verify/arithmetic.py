"""Named precision policies: which format inputs, operations and outputs of a mechanism are held in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.errors import InvalidRequestError
from verify.formats import FORMATS, Format


@dataclass(frozen=True)
class Arithmetic:
    """One policy: every input is rounded to the format and every operation and output is carried out in it."""

    name: str
    format: Format

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The numpy type that computes in this arithmetic."""
        return self.format.dtype


ARITHMETICS = {name: Arithmetic(name, FORMATS[name]) for name in ("float64", "float32")}


def named_arithmetic(name: str) -> Arithmetic:
    """Return the arithmetic called name; InvalidRequestError names the known ones."""
    try:
        return ARITHMETICS[name]
    except KeyError:
        raise InvalidRequestError(
            f"unknown arithmetic {name!r}", "one of " + ", ".join(ARITHMETICS), "choose one of these"
        ) from None
