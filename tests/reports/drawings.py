"""Figures as they are before they are saved, and what stands in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports.figures.every import drawings
from reports.figures.material import Drawing, material
from reports.figures.style import house_style
from reports.frame import load_runs
from verify.sweep import Record, RunFile


def drawn(path: Path) -> dict[str, Drawing]:
    """Return the figures of a run by name."""
    with house_style():
        return {drawing.name: drawing for drawing in drawings(material(load_runs([path])))}


def records(path: Path, mechanism: str, arithmetic: str, form: str | None = None) -> list[Record]:
    """Return what a run file says of a mechanism, by input and order."""
    with RunFile(path) as run:
        every = [record for _, record, _ in run.records()]
    own = [one for one in every if (one.mechanism, one.arithmetic) == (mechanism, arithmetic)]
    chosen = [one for one in own if form is None or one.form == form]
    return sorted(chosen, key=lambda one: (one.head_size, one.input, one.labels.get("order", 0)))


def panel(drawing: Drawing, place: int = 0) -> Axes:
    """Return a panel of a figure."""
    return drawing.canvas.axes[place]


def lines(drawing: Drawing, *keys: str, place: int = 0) -> list[Line2D]:
    """Return the lines of a panel that the legend explains under all these keys."""
    return [line for line in panel(drawing, place).lines if set(keys) <= set(str(line.get_label()).split(" | "))]


def data(line: Line2D) -> tuple[list[float], list[float]]:
    """Return the numbers of a line."""
    x, y = (np.asarray(values, dtype=float).tolist() for values in (line.get_xdata(), line.get_ydata()))
    return x, y


def legend(drawing: Drawing) -> list[str]:
    """Return the texts of the legend."""
    return [text.get_text() for text in drawing.canvas.texts]


def texts(drawing: Drawing) -> Iterator[Any]:
    """Yield every text of a figure that shows."""
    for axes in drawing.canvas.axes:
        yield from (axes.xaxis.label, axes.yaxis.label, *axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels())
    yield from drawing.canvas.texts
