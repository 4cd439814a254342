"""What a formula's error is up against: conventional softmax's own rounding in the same arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.curves import Curve
from reports.frame import in_order
from reports.text import Table, percent_text
from verify.arguments import value_text
from verify.integers import how_many

COLUMNS = ["formula_relative", "softmax_rounding"]


def crossing_table(curves: Sequence[Curve]) -> Table:
    """Return for each input and series where its formula error falls below softmax's own rounding, by arithmetic."""
    compared = [curve for curve in curves if curve.formula is not None]
    arithmetics = in_order(curve.arithmetic for curve in compared)
    found = {(curve.label, curve.series, curve.arithmetic): curve for curve in compared}
    columns = ["input", "mechanism"]
    columns += [f"{arithmetic}: {what}" for arithmetic in arithmetics for what in ("softmax's own", "formula below it")]
    rows = []
    for label, series in in_order((curve.label, curve.series) for curve in compared):
        row = [label, series]
        for arithmetic in arithmetics:
            own = found.get((label, series, arithmetic))
            row += ["", ""] if own is None else _crossing(own)
        rows.append(row)
    return Table(columns, rows)


def _crossing(curve: Curve) -> list[str]:
    place, last = first_below(curve), curve.cells[-1]["along"]
    text = f"{curve.axis} {value_text(place)}" if place is not None else f"not up to {curve.axis} {value_text(last)}"
    return [percent_text(curve.cells[0]["softmax_rounding"]), text]


def first_below(curve: Curve) -> int | float | None:
    """Return the first value at which the formula error is below a rounding error of softmax that is finite.

    No formula error at all is below no rounding at all.
    """
    for cell in curve.cells:
        formula, limit = cell["formula_relative"], cell["softmax_rounding"]
        if formula == 0.0 or (math.isfinite(limit) and formula < limit):
            value: int | float = cell["along"]
            return value
    return None


def _named(curves: Sequence[Curve]) -> str:
    names = in_order(curve.formula for curve in curves)
    return " or ".join(map(str, names)) if len(names) < 3 else "the formula's error"


def crossing_text(curves: Sequence[Curve], arithmetic: str | None) -> str:
    """Return the answer in a line, for one arithmetic: on how many inputs softmax itself errs by more."""
    own = [curve for curve in curves if curve.formula is not None and curve.arithmetic == arithmetic]
    if not own:
        return ""
    below = {curve.label for curve in own if first_below(curve) is not None}
    inputs = in_order(curve.label for curve in own)
    return (
        f"{_named(own)} below softmax's own rounding in {arithmetic}: on {len(below) or 'none'} of"
        f" {how_many(len(inputs), 'input')}"
    )
