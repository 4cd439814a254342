"""Tables of where errors come from: what a formula's error is up against, what bounds promise, when more hurts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pandas as pd

from reports.curves import (
    MechanismTable,
    all_series,
    axis_of,
    curve,
    formula_name,
    leading_form,
    mechanisms,
    members,
    share_text,
)
from reports.frame import by_input, in_order, labels_of, measured, nested
from reports.tables import label_cells
from reports.text import Table, count_text, error_text, number_text
from verify.arguments import value_text


def crossing_tables(frame: pd.DataFrame) -> list[MechanismTable]:
    """Return for each mechanism its formula error and rounding along the axis, by input and arithmetic.

    And where the first falls below softmax's own rounding error in the same arithmetic: what it has to get below before
    it stops to matter.
    """
    found = [(_crossing_table(own), own) for _, own in mechanisms(frame) if own["formula_error"].notna().all()]
    return [_about(cells, table) for table, cells in found if table.rows]


def _about(cells: pd.DataFrame, table: Table) -> MechanismTable:
    return MechanismTable(str(cells["mechanism"].iloc[0]), axis_of(cells), formula_name(cells), table)


def _crossing_table(cells: pd.DataFrame) -> Table:
    values = sorted(in_order(cells["along"]))
    formula, several = formula_name(cells), _several(cells)
    columns = ["input", *(["mechanism"] if several else []), "arithmetic", "form", "softmax's own rounding"]
    columns += [f"falls below it at {axis_of(cells)}"]
    columns += [f"{value_text(value)}: {formula} / rounding" for value in values]
    return Table(columns, [_crossing(start, along, values) for start, along in _curves(cells, several)])


def _crossing(start: list[str], along: pd.DataFrame, values: list[Any]) -> list[str]:
    first, last = along.iloc[0], value_text(along["along"].iloc[-1])
    # no formula error at all is below no rounding at all
    below = along[(along["formula_relative"] < first["softmax_rounding"]) | (along["formula_relative"] == 0)]
    found = value_text(below["along"].iloc[0]) if len(below) else f"never up to {last}"
    cells = {
        cell["along"]: f"{error_text(cell['formula_relative'])} / {error_text(cell['rounding_relative'])}"
        for _, cell in along.iterrows()
    }
    row = [*start, str(first["arithmetic"]), str(first["variant"]), error_text(first["softmax_rounding"]), found]
    return row + [cells.get(value, "") for value in values]


def _several(cells: pd.DataFrame) -> bool:
    """Say whether a mechanism was measured with several values of its other parameters."""
    return len(in_order(cells["series"])) > 1


def _curves(cells: pd.DataFrame, several: bool) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Yield the measured cells along the axis by input, series and arithmetic, of the form that summaries quote."""
    for name, own in by_input(cells):
        for series, group in all_series(own):
            for arithmetic in in_order(group["arithmetic"]):
                form = leading_form(group, arithmetic)
                if form is not None:
                    yield [str(name), *([series] if several else [])], curve(group, (form, arithmetic))


def worsening_tables(frame: pd.DataFrame) -> list[MechanismTable]:
    """Return for each mechanism every step to a higher value on the axis that made the total error larger, and why."""
    found = [(_worsening_table(own), own) for _, own in mechanisms(frame)]
    return [_about(cells, table) for table, cells in found if table.rows]


def _worsening_table(cells: pd.DataFrame) -> Table:
    several, formula = _several(cells), formula_name(cells)
    columns = ["input", *(["mechanism"] if several else []), "arithmetic", axis_of(cells), "total error", formula]
    columns += ["negative weights", "rows with Z <= 0", "why"]
    rows = []
    for start, along in _curves(cells, several):
        for before, after in pairwise(cell for _, cell in along.iterrows()):
            if after["total_relative"] > before["total_relative"]:
                rows.append([*start, *_worsening(before, after, formula)])
    return Table(columns, rows)


def _worsening(before: Any, after: Any, formula: str) -> list[str]:
    pair = (before, after)
    return [
        str(after["arithmetic"]),
        " to ".join(value_text(cell["along"]) for cell in pair),
        " to ".join(error_text(cell["total_relative"]) for cell in pair),
        " to ".join(error_text(cell["formula_relative"]) for cell in pair),
        " to ".join(_share_of_weights(cell) for cell in pair),
        f"{before['nonpositive_exact']:,} to {share_text(after, 'nonpositive_exact')}",
        _why(before, after, formula),
    ]


def _why(before: Any, after: Any, formula: str) -> str:
    """Return which part of the error grew most, and for that of the formula what happened to the weights."""
    value, largest = f"{after['axis']} {value_text(after['along'])}", number_text(after["largest_logit"])
    parts = {"formula": formula, "rounding": "rounding", "quantisation": "quantisation"}
    growth = {part: _growth(before[f"{part}_relative"], after[f"{part}_relative"]) for part in parts}
    part = max(parts, key=lambda name: growth[name])
    if part != "formula":
        went = " to ".join(error_text(cell[f"{part}_relative"]) for cell in (before, after))
        lost = "; something overflowed or Z is no number" if after["nonfinite_elements"] else ""
        return f"{parts[part]} went from {went}{lost}"
    if after["negative"] > before["negative"]:
        why = f"{value}: negative weights far below 0 (|logit| up to {largest})"
        lost = after["cancellation_row"]
        return why + (f"; Z cancels up to {number_text(lost)} times" if lost > 2 else "")
    return f"{value}: weights further from softmax's (|logit| up to {largest})"


def _growth(before: float, after: float) -> float:
    """Return by how much a part grew; nothing if it was infinite already, or is no part of the error."""
    grown = after - before
    return grown if math.isfinite(before) and not math.isnan(grown) else 0.0


def _share_of_weights(cell: Any) -> str:
    if not cell["negative"]:
        return "0"
    return f"{100 * cell['negative'] / cell['pairs']:.2g} %"


def hazard_table(cells: pd.DataFrame) -> Table:
    """Return the exact weights of one mechanism and what went wrong with them, along its axis."""
    labels = labels_of(cells)
    columns = [label for label, _ in labels]
    columns += ["total variation, mean", "max", "same top key", "undecided", "negative weights"]
    columns += ["tiny Z", "cancellation in a weight", "in Z"]
    firsts = (group.iloc[0] for _, group in members(measured(cells)))
    return Table(columns, [label_cells(cell, labels) + _hazards(cell) for cell in firsts])


def _hazards(cell: Any) -> list[str]:
    return [
        error_text(cell["total_variation_mean"]),
        error_text(cell["total_variation_max"]),
        f"{100 * cell['top_key_agreement']:.3g} %",
        share_text(cell, "top_key_undecided"),
        _share_of_weights(cell),
        share_text(cell, "tiny_rows"),
        number_text(cell["cancellation_weight"]),
        number_text(cell["cancellation_row"]),
    ]


def position_table(cells: pd.DataFrame) -> Table:
    """Return the root mean square total error by the query's position, relative to all rows' exact softmax output."""
    spans = _spans(cells, "by_position")
    columns = ["mechanism", "form", "arithmetic", *(_span_text(span) for span in spans)]
    rows = []
    for _, cell in measured(cells).iterrows():
        size = cell["total_rms"] / cell["total_relative"] if cell["total_relative"] else 1.0
        found = {(first, last): float(rms) / size for first, last, rms, *_ in nested(cell["by_position"])}
        rows.append([cell["member"], cell["variant"], cell["arithmetic"]])
        rows[-1] += [error_text(found.get(span)) for span in spans]
    return Table(columns, rows)


def distance_table(cells: pd.DataFrame) -> Table:
    """Return by member the total variation at keys so far from the query, and softmax's own weight there."""
    spans = _spans(cells, "by_distance")
    columns = ["mechanism", *(_span_text(span) for span in spans)]
    rows = []
    for _, cell in measured(cells).drop_duplicates("member").iterrows():
        found = {
            (first, last): f"{error_text(float(moved))} / {error_text(float(held))}"
            for first, last, moved, held in nested(cell["by_distance"])
        }
        rows.append([cell["member"], *(found.get(span, "") for span in spans)])
    return Table(columns, rows)


def _spans(cells: pd.DataFrame, column: str) -> list[tuple[int, int]]:
    return sorted({(span[0], span[1]) for spans in measured(cells)[column] for span in nested(spans)})


def _span_text(span: tuple[int, int]) -> str:
    return str(span[0]) if span[0] == span[1] else f"{span[0]} to {span[1]}"


def bound_table(cells: pd.DataFrame) -> Table:
    """Return bounds beside the errors under them, and what went wrong in the runs, for every measured cell."""
    columns = ["mechanism", "form", "arithmetic", formula_name(cells), "its bound", "rounding", "its bound", "share"]
    columns += ["probable bound", "cosine, least", "digits, median", "lost additions", "overflowed", "underflowed"]
    columns += ["not finite: output", "state", "state underflowed", "saturated inputs"]
    return Table(columns, [_bounds(cell) for _, cell in measured(cells).iterrows()])


_BOUNDED = ["formula_relative", "formula_bound_relative", "rounding_relative", "rounding_bound_relative"]
_BOUNDED += ["rounding_bound_share", "rounding_probable_bound_relative"]


def _bounds(cell: Any) -> list[str]:
    known = {name: None if pd.isna(cell[name]) else cell[name] for name in _BOUNDED}
    return [
        cell["member"],
        cell["variant"],
        cell["arithmetic"],
        error_text(known["formula_relative"]),
        error_text(known["formula_bound_relative"]),
        error_text(known["rounding_relative"]),
        error_text(known["rounding_bound_relative"]),
        number_text(known["rounding_bound_share"], 2),
        error_text(known["rounding_probable_bound_relative"]),
        f"{cell['cosine_min']:.6f}",
        number_text(cell["rounding_digits_median"]),
        *(count_text(int(cell[name])) for name in ("lost_additions", "overflowed_features", "underflowed_features")),
        *(count_text(int(cell[name])) for name in ("nonfinite_elements", "nonfinite_state", "underflowed_state")),
        count_text(int(cell["saturated_inputs"])),
    ]
