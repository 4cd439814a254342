"""Error along the axis of a mechanism: the total, and the formula's part against that of rounding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reports.figures.material import (
    Drawing,
    Left,
    Material,
    axis_text,
    band,
    computed_as,
    curves,
    on_inputs,
    share,
)
from reports.figures.sheet import FAINT, Sheet, note
from reports.figures.style import GREY, code, shortened
from reports.figures.ticks import linear, logarithmic
from verify.numbers.formats import FORMATS

# Widths of the formats whose resolution is drawn: those that attention is computed in
_WIDTHS = (16, 32, 64)


def error_along(material: Material) -> Iterator[Drawing]:
    """Yield for each mechanism its total error along its axis, even and odd orders apart."""
    for subject, axis, cells in material.along():
        left, sheet = Left(), Sheet(height=3.1)
        (axes,) = sheet.panels
        parted = material.polynomial(subject.mechanism) and {0.0, 1.0} <= set(cells["along"] % 2)
        kinds = {f"even {axis}s": 0.0, f"odd {axis}s": 1.0} if parted else {f"every {axis}": None}
        drawn, softmax = [], []
        for place, (name, own) in enumerate(curves(cells, left)):
            key = sheet.key(name, **code(place), linestyle="none")
            found = band(own, "total_relative")
            values = left.positive(found.middle)
            drawn.append(values)
            for kind, rest in kinds.items():
                chosen = np.ones(len(found.x), bool) if rest is None else found.x % 2 == rest
                style = {"linestyle": "--", "fillstyle": "none"} if rest == 1.0 else {}
                keys = [key] if rest is None else [key, sheet.kind(kind, marker="o", **style)]
                if chosen.any():
                    sheet.line(axes, found.x[chosen], values[chosen], keys, **code(place), **style)
                if found.several:
                    edges = left.positive(found.low[chosen]), left.positive(found.high[chosen])
                    patch = axes.fill_between(found.x[chosen], *edges, color=code(place)["color"], alpha=0.15, lw=0)
                    sheet.ground(patch, "5 to 95 % of the seeds")
                    drawn += edges
            own_rounding = own["softmax_rounding"].to_numpy(dtype=float)
            beside = [x for x in np.unique(own_rounding) if 0 < x < np.inf]
            if beside:
                softmax.append(float(np.median(beside)))
                line = {"linestyle": ":", "linewidth": 1.1}
                beside_key = sheet.kind("conventional softmax's own error", **line)
                sheet.level(axes, softmax[-1], [key, beside_key], color=code(place)["color"], **line)
        limits = logarithmic(axes, "y", [*drawn, softmax], most=8)
        resolutions(sheet, axes, limits)
        linear(axes, "x", sorted(set(cells["along"])), whole=True)
        axes.set_xlabel(axis)
        axes.set_ylabel("relative error")
        caption = (
            f"Total error against the exact softmax output, relative, by {axis}; computed as {computed_as(cells)}."
            + (" Curves of several seeds: the median, with a band from 5 to 95 %." if _seeds(material) else "")
            + left.sentences()
        )
        title = subject.title(f"Error by {axis}")
        yield Drawing(subject.file(f"error_by_{axis}"), title, caption, _best(cells, axis), sheet.finish())


def _seeds(material: Material) -> bool:
    return len(material.groups) < material.cells["label"].nunique()


def resolutions(sheet: Sheet, axes: Axes, limits: tuple[float, float]) -> None:
    """Draw the resolutions of number formats that lie within the limits, each with its name."""
    for format_ in FORMATS.values():
        resolution = 2.0**-format_.precision
        if format_.width in _WIDTHS and limits[0] < resolution < limits[1]:
            key = sheet.kind("resolution of a number format, 2^-p", **FAINT)
            sheet.level(axes, resolution, [key], zorder=1, **FAINT)
            place = {"xycoords": axes.get_yaxis_transform(), "ha": "right", "va": "center", "color": GREY}
            note(axes, format_.name, (1.0, resolution), **place)


def _best(cells: pd.DataFrame, axis: str) -> str:
    """Return which value is best, and whether any is below the resolution of float16."""
    errors = cells.assign(error=cells["total_relative"].astype(float).fillna(np.inf))
    ranked = errors.sort_values(["error", "along"], kind="stable").drop_duplicates("label")
    if not (ranked["error"] < np.inf).any():
        return f"errors are infinite at every {axis} measured"
    counts = ranked["along"].value_counts()
    best = min(counts[counts == counts.max()].index)
    inputs, resolution = len(ranked), 2.0 ** -FORMATS["float16"].precision
    below = int((ranked["error"] <= resolution).sum())
    if inputs == 1:
        first = f"{axis} {axis_text(best)} is the best measured ({share(ranked['error'].iloc[0])})"
        return first + ("" if below else f"; no {axis} is below float16's resolution ({resolution:.1e})")
    first = f"{axis} {axis_text(best)} is the best measured on {counts.max()} of {inputs} inputs"
    return f"{first}; the best is below float16's resolution ({resolution:.1e}) on {below or 'none'}"


def formula_against_rounding(material: Material) -> Iterator[Drawing]:
    """Yield for each mechanism the error of its formula and that of rounding along its axis, and where they cross."""
    for subject, axis, cells in material.along():
        formula = shortened(str(cells["formula_error"].iloc[0]))
        left, sheet = Left(), Sheet(height=3.1)
        (axes,) = sheet.panels
        drawn = []
        for place, (name, own) in enumerate(curves(cells, left)):
            key = sheet.key(name, **code(place), linestyle="none")
            solid, dashed = {"linestyle": "-"}, {"linestyle": "--", "fillstyle": "none"}
            found = {column: band(own, f"{column}_relative") for column in ("formula", "rounding")}
            for column, says, style in (("formula", formula, solid), ("rounding", "rounding", dashed)):
                values = left.positive(found[column].middle)
                drawn.append(values)
                keys = [key, sheet.kind(says, marker="o", **style)]
                sheet.line(axes, found[column].x, values, keys, **code(place), **style)
            crossed = zip(found["formula"].x, found["formula"].middle, found["rounding"].middle, strict=True)
            for x, y, rounding in crossed:
                if 0 < y <= rounding and y < np.inf:
                    ring = {"marker": "o", "markersize": 11, "fillstyle": "none", "linestyle": "none"}
                    crossing = sheet.kind(f"first {axis} with {formula} below rounding", **ring)
                    sheet.line(axes, [x], [y], [key, crossing], color=code(place)["color"], **ring)
                    break
        logarithmic(axes, "y", drawn, most=8)
        linear(axes, "x", sorted(set(cells["along"])), whole=True)
        axes.set_xlabel(axis)
        axes.set_ylabel("relative error")
        caption = (
            f"Relative {formula}, exact minus exact softmax, and rounding, computed minus exact, by {axis}; computed as"
            f" {computed_as(cells)}.{left.sentences()}"
        )
        title = subject.title(f"{formula[0].upper()}{formula[1:]} against rounding")
        answer = _crossing(cells, axis, formula)
        yield Drawing(subject.file(f"formula_against_rounding_by_{axis}"), title, caption, answer, sheet.finish())


def _crossing(cells: pd.DataFrame, axis: str, formula: str) -> str:
    formulas = cells["formula_relative"].astype(float)
    below = cells[(formulas <= cells["rounding_relative"].astype(float)) & (formulas < np.inf)]
    firsts = below.groupby("label")["along"].min()
    if firsts.empty:
        return f"{formula} is above rounding at every {axis} measured"
    values = axis_text(firsts.min()), axis_text(firsts.max())
    where = f"{axis} {values[0]}" if values[0] == values[1] else f"{axis} {values[0]} to {values[1]}"
    return f"{formula} falls below rounding at {where}{on_inputs(len(firsts), cells['label'].nunique())}"
