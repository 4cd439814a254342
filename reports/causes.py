"""Tables of where errors come from: what truncation is up against, what bounds promise, and when more terms hurt."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pandas as pd

from reports.frame import by_input, measured
from reports.tables import leading_form, share_text, taylor_curve
from reports.text import Table, count_text, error_text, number_text


def crossing_table(frame: pd.DataFrame) -> Table:
    """Return for each input and arithmetic truncation and rounding by order, and where the first falls below softmax's.

    Softmax's own rounding error in the same arithmetic is what truncation has to get below before it stops to matter.
    """
    orders = sorted({int(order) for order in frame["order"].dropna()})
    columns = ["input", "arithmetic", "form", "softmax's own rounding", "falls below it at order"]
    columns += [f"{order}: truncation / rounding" for order in orders]
    return Table(columns, [_crossing(name, curve, orders) for name, curve in _curves(frame)])


def _crossing(name: str, curve: pd.DataFrame, orders: list[int]) -> list[str]:
    first = curve.iloc[0]
    # no truncation at all is below no rounding at all
    below = curve[(curve["truncation_relative"] < first["softmax_rounding"]) | (curve["truncation_relative"] == 0)]
    found = str(below["order"].iloc[0]) if len(below) else f"never up to {curve['order'].iloc[-1]}"
    cells = {
        int(cell["order"]): f"{error_text(cell['truncation_relative'])} / {error_text(cell['rounding_relative'])}"
        for _, cell in curve.iterrows()
    }
    row = [name, str(first["arithmetic"]), str(first["form"]), error_text(first["softmax_rounding"]), found]
    return row + [cells.get(order, "") for order in orders]


def _curves(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the measured Taylor cells of every input and arithmetic, by order, of the form that summaries quote."""
    for (name, _), cells in by_input(frame):
        for arithmetic in dict.fromkeys(cells[cells["mechanism"] == "taylor"]["arithmetic"]):
            form = leading_form(cells, arithmetic)
            if form is not None:
                yield str(name), taylor_curve(cells, (form, arithmetic))


def worsening_table(frame: pd.DataFrame) -> Table:
    """Return every step to a higher order that made the total error larger, and why."""
    columns = [
        "input",
        "arithmetic",
        "orders",
        "total error",
        "truncation",
        "negative weights",
        "rows with Z <= 0",
        "why",
    ]
    rows = []
    for name, curve in _curves(frame):
        cells = [cell for _, cell in curve.iterrows()]
        for before, after in pairwise(cells):
            if after["total_relative"] > before["total_relative"]:
                rows.append(_worsening(name, before, after))
    return Table(columns, rows)


def _worsening(name: str, before: Any, after: Any) -> list[str]:
    pair = (before, after)
    return [
        name,
        str(after["arithmetic"]),
        f"{before['order']} to {after['order']}",
        " to ".join(error_text(cell["total_relative"]) for cell in pair),
        " to ".join(error_text(cell["truncation_relative"]) for cell in pair),
        " to ".join(_share_of_weights(cell) for cell in pair),
        f"{before['nonpositive_exact']:,} to {share_text(after, 'nonpositive_exact')}",
        _why(before, after),
    ]


def _why(before: Any, after: Any) -> str:
    """Return which part of the error grew most, and for truncation what the higher order did."""
    order, largest = after["order"], number_text(after["largest_logit"])
    parts = ("truncation", "rounding", "quantisation")
    growth = {part: _growth(before[f"{part}_relative"], after[f"{part}_relative"]) for part in parts}
    part = max(parts, key=lambda name: growth[name])
    if part != "truncation":
        went = " to ".join(error_text(cell[f"{part}_relative"]) for cell in (before, after))
        lost = "; something overflowed or Z is no number" if after["nonfinite_elements"] else ""
        return f"{part} went from {went}{lost}"
    if after["negative"] > before["negative"]:
        why = f"order {order}: negative weights far below 0 (|logit| up to {largest})"
        lost = after["cancellation_row"]
        return why + (f"; Z cancels up to {number_text(lost)} times" if lost > 2 else "")
    return f"order {order}: weights further from exp's away from 0 (|logit| up to {largest})"


def _growth(before: float, after: float) -> float:
    """Return by how much a part grew; nothing if it was infinite already."""
    return after - before if math.isfinite(before) else 0.0


def _share_of_weights(cell: Any) -> str:
    if not cell["negative"]:
        return "0"
    return f"{100 * cell['negative'] / cell['pairs']:.2g} %"


def hazard_table(cells: pd.DataFrame) -> Table:
    """Return the exact weights of Taylor attention and what went wrong with them, by order."""
    columns = ["order", "terms", "total variation, mean", "max", "same top key", "undecided", "negative weights"]
    columns += ["tiny Z", "cancellation in a weight", "in Z"]
    taylor = measured(cells[cells["mechanism"] == "taylor"])
    return Table(columns, [_hazards(group.iloc[0]) for _, group in taylor.groupby("order", sort=True)])


def position_table(cells: pd.DataFrame) -> Table:
    """Return the root mean square total error by the query's position, relative to all rows' exact softmax output."""
    spans = _spans(cells, "by_position")
    columns = ["form", "order", "arithmetic", *(_span_text(span) for span in spans)]
    rows = []
    for _, cell in measured(cells).iterrows():
        size = cell["total_rms"] / cell["total_relative"] if cell["total_relative"] else 1.0
        found = {(first, last): error / size for first, last, error in cell["by_position"]}
        order = "" if pd.isna(cell["order"]) else str(cell["order"])
        form = f"{cell['mechanism']}/{cell['form']}"
        rows.append([form, order, cell["arithmetic"], *(error_text(found.get(span)) for span in spans)])
    return Table(columns, rows)


def distance_table(cells: pd.DataFrame) -> Table:
    """Return by order the part of the total variation at keys so far from the query, and softmax's own weight there."""
    spans = _spans(cells, "by_distance")
    columns = ["mechanism", "order", *(_span_text(span) for span in spans)]
    rows = []
    shown = measured(cells).drop_duplicates(["mechanism", "order"])
    for _, cell in shown.iterrows():
        found = {
            (first, last): f"{error_text(moved)} / {error_text(held)}"
            for first, last, moved, held in cell["by_distance"]
        }
        order = "" if pd.isna(cell["order"]) else str(cell["order"])
        rows.append([cell["mechanism"], order, *(found.get(span, "") for span in spans)])
    return Table(columns, rows)


def _spans(cells: pd.DataFrame, column: str) -> list[tuple[int, int]]:
    return sorted({(span[0], span[1]) for spans in measured(cells)[column] for span in spans})


def _span_text(span: tuple[int, int]) -> str:
    return str(span[0]) if span[0] == span[1] else f"{span[0]} to {span[1]}"


def _hazards(cell: Any) -> list[str]:
    return [
        str(cell["order"]),
        str(cell["terms"]),
        error_text(cell["total_variation_mean"]),
        error_text(cell["total_variation_max"]),
        f"{100 * cell['top_key_agreement']:.3g} %",
        share_text(cell, "top_key_undecided"),
        _share_of_weights(cell),
        share_text(cell, "tiny_rows"),
        number_text(cell["cancellation_weight"]),
        number_text(cell["cancellation_row"]),
    ]


def bound_table(cells: pd.DataFrame) -> Table:
    """Return bounds beside the errors under them, and what went wrong in the runs, for every measured cell."""
    columns = ["mechanism", "form", "order", "arithmetic", "truncation", "its bound", "rounding", "its bound", "share"]
    columns += ["probable bound", "cosine, least", "digits, median", "lost additions", "overflowed", "underflowed"]
    columns += ["not finite: output", "state", "state underflowed", "saturated inputs"]
    return Table(columns, [_bounds(cell) for _, cell in measured(cells).iterrows()])


def _bounds(cell: Any) -> list[str]:
    optional = {name: None if pd.isna(cell[name]) else cell[name] for name in cell.index if name.endswith("relative")}
    return [
        cell["mechanism"],
        cell["form"],
        "" if pd.isna(cell["order"]) else str(cell["order"]),
        cell["arithmetic"],
        error_text(optional["truncation_relative"]),
        error_text(optional["truncation_bound_relative"]),
        error_text(optional["rounding_relative"]),
        error_text(optional["rounding_bound_relative"]),
        number_text(cell["rounding_bound_share"], 2),
        error_text(optional["rounding_probable_bound_relative"]),
        f"{cell['cosine_min']:.6f}",
        number_text(cell["rounding_digits_median"]),
        *(count_text(int(cell[name])) for name in ("lost_additions", "overflowed_features", "underflowed_features")),
        *(count_text(int(cell[name])) for name in ("nonfinite_elements", "nonfinite_state", "underflowed_state")),
        count_text(int(cell["saturated_inputs"])),
    ]
