"""The figures of a report, as SVG and PNG bytes that are the same for the same numbers."""

from __future__ import annotations

import io
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
            "Total relative error against the numbers held per head, one point per order (the label). Vertical: the"
            " cache of conventional attention at the number of tokens measured.",
            frame,
            sizes,
            lambda axes, cells: _by_cost(axes, cells, "state_elements", "numbers held per head"),
        ),
        _figure(
            "error_by_flops",
            "Error against FLOPs",
            "Total relative error against FLOPs per token and head, one point per order (the label). Vertical:"
            " conventional attention at the number of tokens measured.",
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
        left_out = 0
        for axes, size in zip(panels, sizes, strict=False):
            axes.set_title(f"head size {size}")
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(numticks=8))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.set_ylabel("relative error")
            left_out += draw(axes, frame[frame["head_size"] == size])
        for axes in panels[len(sizes) :]:
            axes.remove()
        if left_out:
            caption += f" Not drawn, but in the tables: {left_out} curves beyond {MOST_CURVES} in a panel."
        infinite = int(np.isinf(frame["total_relative"]).sum())
        if infinite:
            caption += f" Not drawn: {infinite} cells with an infinite error."
        svg, png = io.BytesIO(), io.BytesIO()
        canvas.savefig(svg, format="svg", metadata={"Date": None})
        canvas.set_layout_engine("none")  # the layout is found; finding it again takes seconds
        canvas.savefig(png, format="png", dpi=110)
    return Figure(name, title, caption, svg.getvalue(), png.getvalue())


def _curves(cells: pd.DataFrame) -> tuple[list[tuple[str, pd.DataFrame, dict[str, Any]]], int]:
    """Return (label, Taylor cells by order, line style) per input, and how many inputs were left out."""
    keys = in_order(zip(cells["input"], cells["digest"], strict=True))
    curves = []
    for position, (name, digest) in enumerate(keys[:MOST_CURVES]):
        own = cells[(cells["input"] == name) & (cells["digest"] == digest)]
        variant = leading_variant(own)
        if variant is not None:
            style = {"color": COLOURS[position], "marker": MARKERS[position], "markersize": 4, "linewidth": 1.2}
            curves.append((f"{_label(name)} ({variant[1]})", taylor_curve(own, variant), style))
    return curves, max(0, len(keys) - MOST_CURVES)


def _label(name: str) -> str:
    # a dollar sign would start mathematics
    text = printable(name).replace("$", r"\$")
    return text if len(text) <= 40 else "..." + text[-37:]


def _finite(values: pd.Series) -> Any:
    numbers = values.to_numpy(dtype=float)
    return np.where(np.isfinite(numbers) & (numbers > 0), numbers, np.nan)


def _by_order(axes: Axes, cells: pd.DataFrame) -> int:
    curves, left_out = _curves(cells)
    for label, curve, style in curves:
        orders = curve["order"].to_numpy(dtype=float)
        axes.plot(orders, _finite(curve["total_relative"]), label=label, **style)
        axes.plot(orders, _finite(curve["rounding_relative"]), linestyle="--", **(style | {"marker": None}))
        same = curve["arithmetic"].iloc[0]
        softmax = (cells["mechanism"] == "softmax") & (cells["arithmetic"] == same) & (cells["status"] == "ok")
        own = softmax & (cells["input"] == curve["input"].iloc[0]) & (cells["digest"] == curve["digest"].iloc[0])
        for relative in _finite(cells[own]["total_relative"]):
            axes.axhline(relative, color=style["color"], linestyle=":", linewidth=0.9)
    axes.set_xlabel("order (highest power kept)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)
    return left_out


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)


def _by_cost(axes: Axes, cells: pd.DataFrame, column: str, label: str) -> int:
    curves, left_out = _curves(cells)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    for name, curve, style in curves:
        costs = curve[column].to_numpy(dtype=float)
        errors = _finite(curve["total_relative"])
        axes.plot(costs, errors, label=name, **style)
        for order, cost, error in zip(curve["order"], costs, errors, strict=True):
            if np.isfinite(error):
                axes.annotate(str(order), (cost, error), textcoords="offset points", xytext=(3, 3), fontsize=6)
    conventional = cells[cells["mechanism"] == "softmax"]
    for tokens, cost in in_order(zip(conventional["keys"], conventional[column], strict=True)):
        axes.axvline(float(cost), color="#777777", linestyle=":", linewidth=0.8)
        text = f"softmax, n = {tokens}"
        axes.annotate(
            text, (float(cost), 0.02), xycoords=("data", "axes fraction"), rotation=90, fontsize=6, color="#555555"
        )
    axes.set_xlabel(label)
    _legend(axes)
    return left_out
