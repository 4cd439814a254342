"""Conditions on two runs, as in "total_max > 1.1x": a number of the second, or how many times that of the first."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from verify.errors import InvalidRequestError, unknown
from verify.sweep.statistics import statistic_names

Number = int | float

_OPERATORS: dict[str, Callable[[Number, Number], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(rf"\s*(\w+)\s*({'|'.join(_OPERATORS)})\s*([^\sx]+?)\s*(x?)\s*", re.ASCII)


@dataclass(frozen=True)
class Condition:
    """A statistic compared with a number or, if it is relative, with so many times its value in the first run."""

    text: str
    statistic: str
    sign: str
    number: float
    relative: bool

    def holds(self, before: Number | None, after: Number | None) -> bool | None:
        """Say whether it holds for a statistic before and after; None where neither run has what is compared.

        It holds wherever there is no telling: where the second run has lost the number, or it is NaN, or its ratio is.
        """
        if after is None:
            return None if before is None else True
        if self.relative and before is None:
            return None
        found = ratio(before, after) if self.relative and before is not None else after
        return math.isnan(found) or _OPERATORS[self.sign](found, self.number)


def condition(text: str) -> Condition:
    """Return the condition that a text states; InvalidRequestError for what states none, or of no statistic.

    condition("total_max > 1.1x").holds(0.5, 0.6)     # True: 0.6 is more than 1.1 times 0.5
    """
    parts = _CONDITION.fullmatch(text)
    try:
        number = math.nan if parts is None else float(parts[3].replace("_", "?"))
    except ValueError:
        number = math.nan
    if parts is None or math.isnan(number):
        raise InvalidRequestError(
            f"condition {text!r}",
            f"STATISTIC OP NUMBER, or NUMBERx for times as much, OP one of {' '.join(_OPERATORS)}",
            "write it as in 'total_max > 1.1x'",
        )
    names = statistic_names()
    if parts[1] not in names:
        near = unknown(f"unknown statistic {parts[1]!r}", parts[1], names, "see the columns of cells.csv")
        raise InvalidRequestError(near.given, "a number of a record, by its column in cells.csv", near.remedy)
    return Condition(text.strip(), parts[1], parts[2], number, parts[4] == "x")


def ratio(before: Number, after: Number) -> float:
    """Return after / before: 1 if both are zero or equally infinite, NaN where either is no number.

    Infinite if only the first is zero.
    """
    if before == after:
        return 1.0
    if before == 0:
        return math.nan if math.isnan(after) else math.copysign(math.inf, after)
    try:
        return after / before
    except OverflowError:  # integers beyond float64
        return math.inf
