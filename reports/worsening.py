"""Where more made it worse: every step along an axis that made the total error larger, grouped by its cause."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from reports.curves import Curve
from reports.frame import in_order
from reports.text import Table, number_text, percent_text
from verify.arguments import value_text
from verify.integers import how_many

# What a step needs of its two cells
COLUMNS = [f"{part}_relative" for part in ("total", "formula", "rounding", "quantisation")]
COLUMNS += ["negative", "nonfinite_elements", "largest_logit", "nonpositive_exact", "measured_rows"]


@dataclass(frozen=True)
class Step:
    """One step to a higher value that made it worse, on one input in one arithmetic."""

    label: str
    series: str
    axis: str
    arithmetic: str
    cause: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def values(self) -> str:
        """From where to where along the axis."""
        return f"{value_text(self.before['along'])} to {value_text(self.after['along'])}"

    @property
    def worse(self) -> float:
        """How many times larger the error became; infinite if it was none or became infinite."""
        before, after = self.before["total_relative"], self.after["total_relative"]
        return float(after / before) if before else math.inf


def steps(curves: Sequence[Curve]) -> list[Step]:
    """Return every step that made the total error larger."""
    return list(_steps(curves))


def _steps(curves: Sequence[Curve]) -> Iterator[Step]:
    for curve in curves:
        for before, after in pairwise(curve.cells):
            if after["total_relative"] > before["total_relative"]:
                cause = _cause(before, after, curve.formula)
                yield Step(curve.label, curve.series, curve.axis, curve.arithmetic, cause, before, after)


def _cause(before: Mapping[str, Any], after: Mapping[str, Any], formula: str | None) -> str:
    """Return which part of the error grew most, and for that of the formula what happened to the weights."""
    parts = ("formula", "rounding", "quantisation")
    growth = {part: _growth(before[f"{part}_relative"], after[f"{part}_relative"]) for part in parts}
    part = max(parts, key=lambda name: growth[name])
    if part != "formula":
        lost = ": something overflowed, or Z is no number" if after["nonfinite_elements"] else " grew"
        return part + lost
    if after["negative"] > before["negative"]:
        lost_rows = after["nonpositive_exact"] > before["nonpositive_exact"]
        return f"{formula}: negative weights" + (", and sums of weights Z <= 0" if lost_rows else "")
    return f"{formula}: weights further from softmax's"


def _growth(before: float, after: float) -> float:
    """Return by how much a part grew; nothing if it was infinite already, or is no part of the error."""
    grown = after - before
    return grown if math.isfinite(before) and not math.isnan(grown) else 0.0


def worsening_table(found: Sequence[Step]) -> Table:
    """Return a row for each series and cause: which steps, on how many inputs, in what, and the worst of them."""
    columns = ["mechanism", "cause", "steps along the axis", "inputs", "arithmetics", "worst"]
    rows = []
    for series, cause in in_order((step.series, step.cause) for step in found):
        own = [step for step in found if (step.series, step.cause) == (series, cause)]
        worst = max(own, key=lambda step: step.worse)
        inputs = in_order(step.label for step in own)
        values = sorted(in_order((step.before["along"], step.values) for step in own))
        rows.append(
            [
                series,
                cause,
                f"{worst.axis} {', '.join(value for _, value in values)}",
                f"{len(inputs):,}",
                ", ".join(in_order(step.arithmetic for step in own)),
                _worst_text(worst),
            ]
        )
    return Table(columns, rows)


def _worst_text(step: Step) -> str:
    errors = " to ".join(percent_text(cell["total_relative"]) for cell in (step.before, step.after))
    return f"{step.label}: {errors}, {step.values} (|logit| up to {number_text(step.after['largest_logit'])})"


def worsening_text(found: Sequence[Step], inputs: int) -> str:
    """Return the answer in a line: how many steps made it worse, and what for most."""
    if not found:
        return "More never made it worse"
    merged = in_order((step.label, step.series, step.values, step.cause) for step in found)
    causes = [cause for *_, cause in merged]
    most = max(in_order(causes), key=causes.count)
    hit = len(in_order(step.label for step in found))
    share = "all for" if causes.count(most) == len(causes) else f"{causes.count(most)} for"
    where = f"{how_many(len(merged), 'step')} on {hit} of {how_many(inputs, 'input')}"
    return f"Where more made it worse: {where}, {share} {most}"
