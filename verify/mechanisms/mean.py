"""The null prediction: the mean of the attended values, whatever queries and keys are."""

from __future__ import annotations

from verify.attention.contract import Member
from verify.families.logit import LogitKernel
from verify.numbers.fields import Field, Number


class Mean(LogitKernel):
    """w_t = 1."""

    name = "mean"
    description = "the mean of the attended values: what is predicted without looking at keys"
    source = "ours; Taylor attention of order 0"
    formula_error = "deviation"

    def function(self, f: Field, s: Number, member: Member) -> Number:
        """Return 1."""
        return f.ratio(1)


MEAN = Mean()
