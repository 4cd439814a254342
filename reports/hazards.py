"""What went wrong on the way, and how far errors stay under their bounds: tables of one input, and of a whole run."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.cells import HAZARDS, nested
from reports.curves import Cell, formula_name, grouped, known, label_cells, labels_of, measured, members, share_text
from reports.text import Table, count_text, error_text, number_text
from verify.integers import how_many


def _share_of_weights(cell: Cell) -> str:
    if not cell["negative"]:
        return "0"
    return f"{100 * cell['negative'] / cell['pairs']:.2g} %"


def hazard_table(cells: Sequence[Cell]) -> Table:
    """Return the exact weights of one mechanism and what went wrong with them, along its axis."""
    labels = labels_of(cells)
    columns = [label for label, _ in labels]
    columns += ["total variation, mean", "max", "same top key", "undecided", "negative weights"]
    columns += ["tiny Z", "cancellation in a weight", "in Z"]
    firsts = (group[0] for _, group in members(measured(cells)))
    found = Table(columns, [label_cells(cell, labels) + _hazards(cell) for cell in firsts])
    return found.filled(len(labels))


def _hazards(cell: Cell) -> list[str]:
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


def position_table(cells: Sequence[Cell]) -> Table:
    """Return the root mean square total error by the query's position, relative to all rows' exact softmax output."""
    spans = _spans(cells, "by_position")
    columns = ["mechanism", "form", "arithmetic", *(_span_text(span) for span in spans)]
    rows = []
    for cell in measured(cells):
        size = cell["total_rms"] / cell["total_relative"] if cell["total_relative"] else 1.0
        found = {(first, last): float(rms) / size for first, last, rms, *_ in nested(cell["by_position"])}
        rows.append([cell["member"], cell["variant"], cell["arithmetic"]])
        rows[-1] += [error_text(found.get(span)) for span in spans]
    return Table(columns, rows)


def distance_table(cells: Sequence[Cell]) -> Table:
    """Return by member the total variation at keys so far from the query, and softmax's own weight there."""
    spans = _spans(cells, "by_distance")
    columns = ["mechanism", *(_span_text(span) for span in spans)]
    rows = []
    for _, (cell, *_) in grouped(measured(cells), "member"):
        found = {
            (first, last): f"{error_text(float(moved))} / {error_text(float(held))}"
            for first, last, moved, held in nested(cell["by_distance"])
        }
        rows.append([cell["member"], *(found.get(span, "") for span in spans)])
    return Table(columns, rows)


def _spans(cells: Sequence[Cell], column: str) -> list[tuple[int, int]]:
    return sorted({(span[0], span[1]) for cell in measured(cells) for span in nested(cell[column])})


def _span_text(span: tuple[int, int]) -> str:
    return str(span[0]) if span[0] == span[1] else f"{span[0]} to {span[1]}"


def bound_table(cells: Sequence[Cell]) -> Table:
    """Return bounds beside the errors under them, and what went wrong in the runs, for every measured cell."""
    columns = ["mechanism", "form", "arithmetic", formula_name(cells), "its bound", "rounding", "its bound", "share"]
    columns += ["probable bound", "cosine, least", "digits, median", "lost additions", "overflowed", "underflowed"]
    columns += ["not finite: output", "state", "state underflowed", "saturated inputs"]
    return Table(columns, [_bounds(cell) for cell in measured(cells)]).filled(3)


_BOUNDED = ["formula_relative", "formula_bound_relative", "rounding_relative", "rounding_bound_relative"]
_BOUNDED += ["rounding_bound_share", "rounding_probable_bound_relative"]


def _bounds(cell: Cell) -> list[str]:
    found = {name: known(cell[name]) for name in _BOUNDED}
    return [
        cell["member"],
        cell["variant"],
        cell["arithmetic"],
        error_text(found["formula_relative"]),
        error_text(found["formula_bound_relative"]),
        error_text(found["rounding_relative"]),
        error_text(found["rounding_bound_relative"]),
        number_text(found["rounding_bound_share"], 2),
        error_text(found["rounding_probable_bound_relative"]),
        f"{cell['cosine_min']:.6f}",
        number_text(cell["rounding_digits_median"]),
        *(count_text(int(cell[name])) for name in ("lost_additions", "overflowed_features", "underflowed_features")),
        *(count_text(int(cell[name])) for name in ("nonfinite_elements", "nonfinite_state", "underflowed_state")),
        count_text(int(cell["saturated_inputs"])),
    ]


# What a run's table adds up, and how it is called
_SUMS = {
    "nonpositive_exact": "rows with Z <= 0",
    "nonpositive_rows": "computed",
    "undefined": "Z = 0",
    "tiny_rows": "tiny Z",
    "negative": "negative weights",
    **{name: name.replace("_", " ") for name in HAZARDS if name != "nonpositive_rows"},
}
_KEYS = ["mechanism", "variant", "arithmetic"]


def run_table(frame: pd.DataFrame) -> Table:
    """Return a row for each mechanism, form and arithmetic: largest shares of bounds, and hazards added up."""
    found = frame[frame["status"] == "ok"]
    groups = found.groupby(_KEYS, sort=False)
    shares = groups[["rounding_bound_share", "formula_bound_share"]].max()
    counted = found.assign(**{name: found[name].astype(float) for name in _SUMS})
    sums = counted.groupby(_KEYS, sort=False)[[*_SUMS]].sum()
    columns = ["mechanism", "form", "arithmetic", "cells", "rounding / bound", "formula / bound", *_SUMS.values()]
    rows = []
    for place, (*key, count) in enumerate(groups.size().reset_index().itertuples(index=False, name=None)):
        limits = [number_text(None if pd.isna(x) else x, 2) for x in shares.iloc[place]]
        rows.append([*map(str, key), f"{count:,}", *limits, *(f"{int(x):,}" for x in sums.iloc[place])])
    return Table(columns, rows).filled(4)


def run_text(frame: pd.DataFrame) -> str:
    """Return the answer in a line: how far errors stay under their bounds, and what was lost on the way."""
    found = frame[frame["status"] == "ok"]
    shares = found["rounding_bound_share"].dropna()
    parts = [f"rounding is at most {number_text(shares.max(), 2)} of its bound"] if len(shares) else []
    parts += _lost(found, ["nonpositive_exact"], "row with Z <= 0", "rows with Z <= 0")
    parts += _lost(found, ["nonfinite_elements"], "element that is no number", "elements that are no numbers")
    return "Hazards and bounds: " + "; ".join(parts or ["nothing was measured"])


def _lost(found: pd.DataFrame, names: Sequence[str], one: str, several: str) -> list[str]:
    count = int(sum(found[name].astype(float).sum() for name in names))
    return [how_many(count, one, several)] if count else []
