"""The figures of a report, as SVG and PNG bytes that are the same for the same numbers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from reports.frame import in_order
from reports.tables import leading_variant, taylor_curve
from reports.text import printable
from verify.cost import taylor_cost

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
    """Return the figures for the measured Taylor cells; none if there are none."""
    taylor = frame[(frame["mechanism"] == "taylor") & (frame["status"] == "ok")]
    if taylor.empty:
        return []
    sizes = sorted(taylor["head_size"].unique())
    return [
        _figure(
            "error_by_order",
            "Error by order",
            "Relative error against the exact softmax output, one panel per head size. Solid: total. Dashed: the"
            " rounding part of it. Dotted: conventional softmax in the same arithmetic.",
            frame,
            sizes,
            _by_order,
        ),
        _figure(
            "error_by_state",
            "Error against state size",
            "Relative truncation error against the numbers that packed features keep per head, one point per order (the"
            " label); large markers: total error of the packed form where it was measured. Vertical: the cache of"
            " conventional attention at the number of tokens measured.",
            frame,
            sizes,
            lambda axes, cells: _by_cost(axes, cells, "state_elements", "numbers held per head"),
        ),
        _figure(
            "error_by_flops",
            "Error against FLOPs",
            "Relative truncation error against the FLOPs per token and head of packed features, one point per order"
            " (the label); large markers: total error of the packed form where it was measured. Vertical: conventional"
            " attention at the number of tokens measured.",
            frame,
            sizes,
            lambda axes, cells: _by_cost(axes, cells, "flops_per_token", "FLOPs per token and head"),
        ),
    ]


def _figure(name: str, title: str, caption: str, frame: pd.DataFrame, sizes: Sequence[int], draw: Any) -> Figure:
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
            drawn += draw(axes, frame[frame["head_size"] == size])
        for axes in panels[len(sizes) :]:
            axes.remove()
        if drawn.left_out:
            caption += f" Not drawn, but in the tables: {drawn.left_out} inputs beyond {MOST_CURVES} in a panel."
        if drawn.infinite:
            caption += f" Not drawn: {drawn.infinite} points with an infinite error."
        if drawn.zero:
            caption += f" Not drawn: {drawn.zero} points without any error."
        svg, png = io.BytesIO(), io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in another script shows as boxes
            canvas.savefig(svg, format="svg", metadata={"Date": None})
            canvas.set_layout_engine("none")  # the layout is found; finding it again takes seconds
            canvas.savefig(png, format="png", dpi=110)
    return Figure(name, title, caption, svg.getvalue(), png.getvalue())


@dataclass
class Drawn:
    """What a panel could not show: inputs beyond MOST_CURVES, and points off a logarithmic scale."""

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
    """Return (label, cells, line style) for the inputs a panel has room for."""
    keys = in_order(zip(cells["input"], cells["digest"], strict=True))
    drawn.left_out += max(0, len(keys) - MOST_CURVES)
    chosen = []
    for position, (name, digest) in enumerate(keys[:MOST_CURVES]):
        own = cells[(cells["input"] == name) & (cells["digest"] == digest)]
        style = {"color": COLOURS[position], "marker": MARKERS[position], "markersize": 4, "linewidth": 1.2}
        chosen.append((_label(name), own, style))
    return chosen


def _label(name: str) -> str:
    # a dollar sign would start mathematics
    text = printable(name).replace("$", r"\$")
    text = text if len(text) <= 40 else "..." + text[-37:]
    return f" {text}" if text.startswith("_") else text  # matplotlib leaves labels with an underscore out


def _by_order(axes: Axes, cells: pd.DataFrame) -> Drawn:
    drawn = Drawn()
    for label, own, style in _inputs(cells, drawn):
        variant = leading_variant(own)
        if variant is None:
            continue
        curve = taylor_curve(own, variant)
        orders = curve["order"].to_numpy(dtype=float)
        axes.plot(orders, drawn.points(curve["total_relative"]), label=f"{label} ({variant[1]} {variant[0]})", **style)
        axes.plot(orders, drawn.points(curve["rounding_relative"]), linestyle="--", **(style | {"marker": None}))
        softmax = (own["mechanism"] == "softmax") & (own["arithmetic"] == variant[1]) & (own["status"] == "ok")
        for relative in drawn.points(own[softmax]["total_relative"]):
            axes.axhline(relative, color=style["color"], linestyle=":", linewidth=0.9)
    axes.set_xlabel("order (highest power kept)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return drawn


def _by_cost(axes: Axes, cells: pd.DataFrame, column: str, label: str) -> Drawn:
    drawn = Drawn()
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    for name, own, style in _inputs(cells, drawn):
        taylor = own[(own["mechanism"] == "taylor") & (own["status"] == "ok")].sort_values("order")
        exact = taylor.drop_duplicates("order")  # the exact error is that of the formula, whatever form computed it
        costs = [_packed_cost(cell, column) for _, cell in exact.iterrows()]
        errors = drawn.points(exact["truncation_relative"])
        axes.plot(costs, errors, label=name, **style)
        for order, cost, error in zip(exact["order"], costs, errors, strict=True):
            if np.isfinite(error):
                axes.annotate(str(order), (cost, error), textcoords="offset points", xytext=(3, 3), fontsize=6)
        packed = taylor[taylor["form"] == "packed"].drop_duplicates("order", keep="last")
        measured = drawn.points(packed["total_relative"])
        axes.plot(
            [_packed_cost(cell, column) for _, cell in packed.iterrows()],
            measured,
            **(style | {"linestyle": "none", "markersize": 8, "fillstyle": "none"}),
        )
    conventional = cells[(cells["mechanism"] == "softmax") & (cells["status"] == "ok")]
    for tokens, cost in in_order(zip(conventional["keys"], conventional[column], strict=True)):
        axes.axvline(float(cost), color="#777777", linestyle=":", linewidth=0.8)
        axes.annotate(
            f"softmax, n = {tokens}",
            (float(cost), 0.02),
            xycoords=("data", "axes fraction"),
            rotation=90,
            fontsize=6,
            color="#555555",
        )
    axes.set_xlabel(label)
    _legend(axes)
    return drawn


def _packed_cost(cell: Any, column: str) -> int:
    """Return what packed features of this order cost, by formula: also where another form was measured."""
    cost = taylor_cost(int(cell["head_size"]), int(cell["order"]), int(cell["value_size"]))
    return cost.state_elements if column == "state_elements" else cost.flops_per_token


def _legend(axes: Axes) -> None:
    # two names side by side are as wide as a panel, and there is another one beside it
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=1)
