"""The first table of a report: what every mechanism does on every input, a row each."""

from __future__ import annotations

import pandas as pd

from reports.curves import all_series, axis_of, curve, formula_name, leading_variant, share_text, without_axis
from reports.frame import by_input, in_order, measured
from reports.text import Table, error_text, number_text
from verify.arguments import Value, value_text

THRESHOLDS = (1e-2, 1e-3)


def glance_table(frame: pd.DataFrame) -> Table:
    """Return for every input its logits, which value along the axis was enough, and what the proposed value does.

    With one series there is a row for each input, and mechanisms without an axis have their formula errors in columns
    of their own; otherwise there is a row for each input and mechanism.
    """
    names = _Names(frame)
    rows = [row for name, cells in by_input(frame) for row in _input(str(name), cells, names)]
    columns = [column for column in names.columns if any(column in row for row in rows)]
    return Table(columns, [[row.get(column, "") for column in columns] for row in rows])


class _Names:
    """What the columns are called: after the axis and the value proposed, if all series have the same."""

    def __init__(self, frame: pd.DataFrame) -> None:
        series = [cells for _, cells in all_series(frame)]
        axes = in_order(axis_of(cells) for cells in series)
        proposed = in_order(cells["proposed"].iloc[0] for cells in series)
        self.alone = len(series) == 1
        self.axis = axes[0] if len(axes) == 1 else None
        axis = self.axis or "value"
        self.enough = {threshold: f"{axis} for {threshold:g}" for threshold in THRESHOLDS}
        self.best = f"best {axis}"
        self.same = len(axes) == len(proposed) == 1
        named = f"{axis} {proposed[0]}" if self.same else "as proposed"
        self.proposed, self.lost = f"{named}: total", f"{named}: Z <= 0"
        self.members = {
            str(member): f"{member} {formula_name(cells)}"
            for member, cells in measured(_others(frame)).groupby("member", sort=False)
        }
        self.columns = ["input", "d", "largest |logit|", "std of logits", "mechanism", *self.enough.values(), self.best]
        self.columns += [_ERROR, self.proposed, self.lost, *self.members.values(), "arithmetic"]

    def value(self, value: Value, axis: str) -> str:
        """Return a value on an axis, which is named unless the columns name it."""
        return value_text(value) if self.axis is not None else f"{axis} {value_text(value)}"


_ERROR = "its total error"


def _others(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of mechanisms without an axis that are compared with something."""
    found = without_axis(cells)
    return found[found["formula_error"].notna()]


def _input(name: str, cells: pd.DataFrame, names: _Names) -> list[dict[str, str]]:
    first = cells.iloc[0]
    start = {
        "input": name,
        "d": str(first["head_size"]),
        "largest |logit|": number_text(first["largest_logit"]),
        "std of logits": number_text(first["measured_logit_std"]),
    }
    rows = [start | _series(series, own, names) for series, own in all_series(cells)]
    others = _others(cells).groupby("member", sort=False)
    if names.alone:
        deviations = {
            names.members[str(member)]: error_text(measured(own)["formula_relative"].iloc[0])
            for member, own in others
            if len(measured(own))
        }
        return [row | deviations for row in rows] or [start | deviations]
    rows += [start | {"mechanism": str(member)} | _quoted(own) for member, own in others]
    return rows or [start]


def _series(series: str, cells: pd.DataFrame, names: _Names) -> dict[str, str]:
    """Return what a row says of a mechanism with an axis."""
    row = {} if names.alone else {"mechanism": series}
    variant = leading_variant(cells)
    if variant is None:
        return row | _quoted(cells)
    along, axis = curve(cells, variant), axis_of(cells)
    for threshold, column in names.enough.items():
        enough = along[along["total_relative"] <= threshold]
        last = value_text(along["along"].iloc[-1])
        row[column] = names.value(enough["along"].iloc[0], axis) if len(enough) else f"none up to {last}"
    best = along.iloc[[int(along["total_relative"].to_numpy().argmin())]]
    row[names.best] = names.value(best["along"].iloc[0], axis)
    value = along["proposed"].iloc[0]
    if not pd.isna(value):
        start = "" if names.same else f"{axis} {value}: "
        found = along[along["along"] == value]
        row[names.proposed] = f"{start}{error_text(found['total_relative'].iloc[0])}" if len(found) else ""
        row[names.lost] = share_text(found.iloc[0], "nonpositive_exact") if len(found) else ""
    return row | _quoted(best)


def _quoted(cells: pd.DataFrame) -> dict[str, str]:
    """Return the total error of the variant that summaries quote, or how the cells ended if none was measured."""
    variant = leading_variant(cells)
    if variant is None:
        return {_ERROR: ", ".join(in_order(cells["status"]))}
    error = curve(cells, variant)["total_relative"].iloc[0]
    return {_ERROR: error_text(error), "arithmetic": f"{variant[1]} {variant[0]}"}
