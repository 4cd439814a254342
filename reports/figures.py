"""The figures of a report, as SVG and PNG bytes that are the same for the same numbers."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from reports.curves import axis_of, baseline, curve, formula_name, leading_variant, mechanisms
from reports.frame import in_order, measured
from reports.text import printable
from verify.arguments import value_text
from verify.integers import how_many

# Okabe and Ito's palette, told apart by colour-blind readers too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# More curves than this in one panel cannot be told apart: the rest stays in the tables, and the caption says so.
MOST_CURVES = 7

_STYLE: Any = {
    "svg.hashsalt": "attnproof",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 7,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Figure:
    """One figure in both formats; name is its file name without an ending."""

    name: str
    title: str
    caption: str
    svg: bytes
    png: bytes


def figures(frame: pd.DataFrame) -> list[Figure]:
    """Return the figures of every mechanism with an axis of which cells were measured."""
    shown = [(name, own) for name, own in mechanisms(frame) if len(measured(own))]
    conventional = measured(baseline(frame))
    found: list[Figure] = []
    for name, cells in shown:
        axis, formula = axis_of(cells), formula_name(cells)
        start = "Error" if len(shown) == 1 else f"{name}: error"
        drawings = [
            _Drawing(
                f"error_by_{axis}",
                f"{start} by {axis}",
                "Relative error against the exact softmax output, one panel per head size. Solid: total. Dashed: the"
                " rounding part of it. Dotted: conventional softmax in the same arithmetic.",
                partial(_along_axis, name=axis),
            )
        ]
        for key, column, title, label, vertical in _COSTS:
            costs = cheapest(cells, column)
            if costs.empty:
                continue
            forms = ", ".join(in_order(costs["form"]))
            caption = (
                f"Relative {formula} against {label}, in the form that takes the fewest ({forms}): one point per {axis}"
                " (the label). Large markers: its total error where that was measured. Vertical:"
                f" {vertical} at the number of tokens measured."
            )
            draw = partial(_by_cost, column=column, name=label)
            drawings.append(_Drawing(f"error_by_{key}", f"{start} against {title}", caption, draw))
        for drawing in drawings:
            file = drawing.name if len(shown) == 1 else f"{drawing.name}_{name}"
            found.append(_figure(drawing, _file_name(file, found), cells, conventional))
    return found


# Name in file names, column, name in titles, name on the axis, and what the vertical lines are.
_COSTS = (
    ("state", "state_elements", "state size", "numbers held per head", "the cache of conventional attention"),
    ("flops", "flops_per_token", "FLOPs", "FLOPs per token and head", "conventional attention"),
)


@dataclass(frozen=True)
class _Drawing:
    """What a figure is to show.  draw: fills a panel from a mechanism's cells and those of the baseline."""

    name: str
    title: str
    caption: str
    draw: Callable[[Axes, pd.DataFrame, pd.DataFrame], Drawn]


def _file_name(name: str, taken: Sequence[Figure]) -> str:
    """Return a name that is a file's everywhere and not taken: mechanisms and axes are named by strangers."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:80]
    others = {figure.name.lower() for figure in taken}
    tries = (safe, *(f"{safe}_{number}" for number in range(2, len(taken) + 3)))
    return next(text for text in tries if text.lower() not in others)


def cheapest(cells: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return for every input and member the cell of a form with features that costs least, measured or not."""
    known = cells[cells["features"].notna() & cells[column].notna()]
    ranked = known.sort_values(column, kind="stable").drop_duplicates(["input", "digest", "member"])
    return ranked.sort_values(["series", "along"], kind="stable")


def _figure(drawing: _Drawing, name: str, cells: pd.DataFrame, conventional: pd.DataFrame) -> Figure:
    sizes = sorted(measured(cells)["head_size"].unique())
    caption = drawing.caption
    with mpl.rc_context(_STYLE):
        columns = min(2, len(sizes))
        rows = -(-len(sizes) // columns)
        canvas = Canvas(figsize=(5.4 * columns, 3.7 * rows), layout="constrained")
        FigureCanvasAgg(canvas)
        panels = canvas.subplots(rows, columns, squeeze=False).ravel()
        drawn = Drawn()
        for axes, size in zip(panels, sizes, strict=False):
            axes.set_title(f"head size {size}")
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(numticks=8))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_ylabel("relative error")
            drawn += drawing.draw(axes, *(part[part["head_size"] == size] for part in (cells, conventional)))
            _widened(axes)
        for axes in panels[len(sizes) :]:
            axes.remove()
        if drawn.left_out:
            caption += (
                f" Not drawn, but in the tables: {how_many(drawn.left_out, 'curve')} beyond {MOST_CURVES} in a panel."
            )
        if drawn.infinite:
            caption += f" Not drawn: {how_many(drawn.infinite, 'point')} with an infinite error."
        if drawn.zero:
            caption += f" Not drawn: {how_many(drawn.zero, 'point')} without any error."
        svg, png = io.BytesIO(), io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in another script shows as boxes
            canvas.savefig(svg, format="svg", metadata={"Date": None})
            canvas.set_layout_engine("none")  # the layout is found; finding it again takes seconds
            canvas.savefig(png, format="png", dpi=110)
    return Figure(name, drawing.title, caption, svg.getvalue(), png.getvalue())


def _widened(axes: Axes) -> None:
    """Let a panel span a decade at least, and put more ticks between the powers of ten of a narrow one."""
    low, high = axes.get_ylim()
    if high < 10 * low:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
        axes.set_ylim(low, high)
    if high < 100 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))


@dataclass
class Drawn:
    """What a panel could not show: curves beyond MOST_CURVES, and points off a logarithmic scale."""

    left_out: int = 0
    infinite: int = 0
    zero: int = 0

    def __add__(self, other: Drawn) -> Drawn:
        """Return the sum of both counts."""
        return Drawn(self.left_out + other.left_out, self.infinite + other.infinite, self.zero + other.zero)

    def points(self, values: pd.Series) -> Any:
        """Return the values as an array with NaN where a logarithmic scale has no place for them, and count those."""
        numbers = values.to_numpy(dtype=float)
        self.infinite += int(np.isinf(numbers).sum())
        self.zero += int((numbers == 0).sum())
        return np.where(np.isfinite(numbers) & (numbers > 0), numbers, np.nan)


def _inputs(cells: pd.DataFrame, drawn: Drawn) -> list[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Return (label, cells, line style) for the curves that a panel has room for, one for each input and series."""
    several = len(in_order(cells["series"])) > 1
    keys = in_order(zip(cells["input"], cells["digest"], cells["series"], strict=True))
    drawn.left_out += max(0, len(keys) - MOST_CURVES)
    chosen = []
    for position, (name, digest, series) in enumerate(keys[:MOST_CURVES]):
        own = cells[(cells["input"] == name) & (cells["digest"] == digest) & (cells["series"] == series)]
        style = {"color": COLOURS[position], "marker": MARKERS[position], "markersize": 4, "linewidth": 1.2}
        chosen.append((f"{_label(name)}, {_label(series)}" if several else _label(name), own, style))
    return chosen


def _label(name: str) -> str:
    # a dollar sign would start mathematics
    text = printable(name).replace("$", r"\$")
    text = text if len(text) <= 40 else "..." + text[-37:]
    return f" {text}" if text.startswith("_") else text  # matplotlib leaves labels with an underscore out


def _along_axis(axes: Axes, cells: pd.DataFrame, conventional: pd.DataFrame, name: str) -> Drawn:
    drawn = Drawn()
    for label, own, style in _inputs(cells, drawn):
        variant = leading_variant(own)
        if variant is None:
            continue
        along = curve(own, variant)
        values = along["along"].to_numpy(dtype=float)
        how = _label(f"{variant[1]} {variant[0]}")
        axes.plot(values, drawn.points(along["total_relative"]), label=f"{label} ({how})", **style)
        axes.plot(values, drawn.points(along["rounding_relative"]), linestyle="--", **(style | {"marker": None}))
        beside = (conventional["input"] == own["input"].iloc[0]) & (conventional["digest"] == own["digest"].iloc[0])
        alike = conventional[beside & (conventional["arithmetic"] == variant[1])]
        for relative in drawn.points(alike["total_relative"]):
            axes.axhline(relative, color=style["color"], linestyle=":", linewidth=0.9)
    axes.set_xlabel(_label(name))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _legend(axes)
    return drawn


def _by_cost(axes: Axes, cells: pd.DataFrame, conventional: pd.DataFrame, column: str, name: str) -> Drawn:
    drawn = Drawn()
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    for label, own, style in _inputs(cells, drawn):
        least = cheapest(own, column)
        costs = {cell["member"]: _number(cell[column]) for _, cell in least.iterrows()}
        found = curve_of_formula(own)
        found = found[found["member"].isin(costs)]
        places = [costs[member] for member in found["member"]]
        errors = drawn.points(found["formula_relative"])
        axes.plot(places, errors, label=label, **style)
        for value, cost, error in zip(found["along"], places, errors, strict=True):
            if np.isfinite(error) and np.isfinite(cost):
                text = value_text(value)
                axes.annotate(text, (cost, error), textcoords="offset points", xytext=(3, 3), fontsize=6)
        own = own[own["form"].isin(set(least["form"])) & own[column].notna()]
        variant = leading_variant(own)
        computed = own.iloc[:0] if variant is None else curve(own, variant)
        axes.plot(
            [_number(cost) for cost in computed[column]],
            drawn.points(computed["total_relative"]),
            **(style | {"linestyle": "none", "markersize": 8, "fillstyle": "none"}),
        )
    lines = conventional[conventional[column].notna()]
    for mechanism, tokens, cost in in_order(zip(lines["mechanism"], lines["keys"], lines[column], strict=True)):
        axes.axvline(_number(cost), color="#777777", linestyle=":", linewidth=0.8)
        axes.annotate(
            f"{_label(mechanism)}, n = {tokens}",
            (_number(cost), 0.02),
            xycoords=("data", "axes fraction"),
            rotation=90,
            fontsize=6,
            color="#555555",
        )
    axes.set_xlabel(name)
    _legend(axes)
    return drawn


def curve_of_formula(cells: pd.DataFrame) -> pd.DataFrame:
    """Return one measured cell for every member: the exact error is that of the formula, whatever form computed it."""
    return measured(cells).drop_duplicates("member").sort_values(["series", "along"], kind="stable")


def _number(cost: Any) -> float:
    """Return a cost as a figure takes it: NaN, which is not drawn, where it is beyond float64."""
    try:
        return float(cost)
    except OverflowError:
        return math.nan


def _legend(axes: Axes) -> None:
    # two names side by side are as wide as a panel, and there is another one beside it
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=1)
