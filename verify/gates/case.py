"""What a rule decides from: an answer, the exact output, and the output of a conventional run."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from verify.measure.metrics import METRICS, magnitudes
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem


@dataclass(frozen=True, eq=False)
class Case:
    """One answer to one problem.

    exact: [..., H, n_q, d_v], the exact output in float64.  found: the same shape, the answer, numbers of the
    arithmetic's output format.  plain: that of conventional attention, every step in the arithmetic.  All as float64.
    """

    problem: Problem
    exact: Float64Array
    found: Float64Array
    plain: Float64Array
    arithmetic: Arithmetic

    @property
    def rounded(self) -> Float64Array:
        """The exact output rounded to the output's format, which many rules compare with."""
        return in_format(self.exact, self.arithmetic)

    @property
    def error(self) -> float:
        """||found - exact|| / ||exact||; infinite where an element is not finite."""
        return METRICS["relative"].of(magnitudes(self.found - self.exact), self.exact)

    def answered(self, value: Float64Array) -> Case:
        """Return the case of another answer, rounded to the output's format."""
        return replace(self, found=in_format(value, self.arithmetic))


def in_format(values: Float64Array, arithmetic: Arithmetic) -> Float64Array:
    """Return numbers rounded to the format of an arithmetic's outputs, as float64."""
    rounded: Float64Array = arithmetic.as_output(values).astype(np.float64)
    return rounded
