"""A canvas with panels, and one legend below them that says what every line is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from reports.figures.style import GREY, NOTE, PALE, WIDTH, points, shortened

# Inches: around panels, between them, and of a line of text
_LEFT, _RIGHT, _TOP, _UNDER = 0.74, 0.2, 0.08, 0.46
_BETWEEN, _ACROSS = 0.215, 0.3
_LINE, _ROW, _HANDLE = 0.165, 0.181, 0.33

Style = dict[str, Any]


class Sheet:
    """Panels in rows, each as high as said, and a legend; sizes are worked out here, without a layout engine.

    Panels above each other have the same horizontal axis, and panels beside each other the same vertical one: inner
    ones have no labels of their own.
    """

    def __init__(self, panels: int = 1, *, columns: int = 1, height: float = 2.7, title_lines: int = 0) -> None:
        self.canvas = Canvas()
        FigureCanvasAgg(self.canvas)
        self.columns, self.height, self.title_lines = min(columns, panels), height, title_lines
        # labels keep two axes in one place apart until they get their own
        self.panels = [self.canvas.add_axes((0, 0, 1, 1), label=str(place)) for place in range(panels)]
        for axes in self.panels:
            headed(axes)
        self._keys: dict[str, tuple[str, Style]] = {}
        self._kinds: dict[str, tuple[str, Style]] = {}

    def key(self, text: str, **style: Any) -> str:
        """Let the legend say whose curve has a style, once; return what stands there."""
        if text not in self._keys:
            taken = {shown for shown, _ in self._keys.values()}
            tries = (shortened(text), *(f"{shortened(text, 44)} ({number})" for number in range(2, len(taken) + 3)))
            self._keys[text] = next(shown for shown in tries if shown not in taken), style
        return self._keys[text][0]

    def kind(self, text: str, **style: Any) -> str:
        """Let the legend say, behind whose curves there are, what a style in grey means of each; return the text."""
        return self._kinds.setdefault(text, (shortened(text), {"color": GREY} | style))[0]

    def ground(self, patch: Artist, text: str, **style: Any) -> None:
        """Let the legend say what a filled patch means."""
        patch.set_label(self.kind(text, **(_PATCH | style)))

    def line(self, axes: Axes, x: Any, y: Any, keys: Sequence[str], **style: Any) -> None:
        """Draw a line that the legend explains under these keys, together."""
        self._add(axes, Line2D(np.asarray(x, float), np.asarray(y, float), **style), keys)

    def level(self, axes: Axes, y: float, keys: Sequence[str], **style: Any) -> None:
        """Draw a line from side to side, which the legend explains."""
        self._add(axes, Line2D([0.0, 1.0], [y, y], transform=axes.get_yaxis_transform(which="grid"), **style), keys)

    def _add(self, axes: Axes, line: Line2D, keys: Sequence[str]) -> None:
        # without `plot`, which works out limits anew for every line
        line.set_label(" | ".join(keys))
        axes.add_artist(line)

    def finish(self) -> Canvas:
        """Return the canvas, with its legend, and everything in its place."""
        rows = -(-len(self.panels) // self.columns)
        titles = self.title_lines * _LINE + (0.06 if self.title_lines else 0.0)
        entries = [*self._keys.values(), *self._kinds.values()]
        parts = in_columns(entries)
        legend = max(map(len, parts)) * _ROW + 0.08
        total = _TOP + rows * (titles + self.height) + (rows - 1) * _BETWEEN + _UNDER + legend
        width = (WIDTH - _LEFT - _RIGHT - (self.columns - 1) * _ACROSS) / self.columns
        self.canvas.set_size_inches(WIDTH, total)
        for place, axes in enumerate(self.panels):
            row, column = divmod(place, self.columns)
            top = _TOP + titles + row * (titles + self.height + _BETWEEN)
            left = _LEFT + column * (width + _ACROSS)
            bottom = total - top - self.height
            axes.set_position((left / WIDTH, bottom / total, width / WIDTH, self.height / total))
            # where labels are is said: finding room for them takes as long as drawing all else
            axes.xaxis.set_label_coords(0.5, -0.27 / self.height)
            axes.yaxis.set_label_coords(-(_LEFT - 0.2) / width, 0.5)
            if column:
                axes.set_ylabel("")
                axes.tick_params(labelleft=False)
            if place + self.columns < len(self.panels):
                axes.set_xlabel("")
                axes.tick_params(labelbottom=False)
        self._explain(parts, legend)
        return self.canvas

    def _explain(self, parts: Sequence[Sequence[tuple[str, Style]]], height: float) -> None:
        """Write the legend into the lowest inches; matplotlib's own takes as long as two panels."""
        widths = [_wide(part) for part in parts]
        left = max(0.05, (WIDTH - sum(widths)) / 2)
        inches = self.canvas.dpi_scale_trans
        for part, width in zip(parts, widths, strict=True):
            for row, (text, style) in enumerate(part):
                y = height - (row + 0.5) * _ROW
                x = [left, left + _HANDLE / 2, left + _HANDLE]
                self.canvas.add_artist(Line2D(x, [y] * 3, transform=inches, markevery=[1], **style))
                self.canvas.text(x[-1] + 0.08, y - 0.045, text, transform=inches)
            left += width


def in_columns(entries: Sequence[tuple[str, Style]]) -> list[Sequence[tuple[str, Style]]]:
    """Return the entries of a legend in as many columns as fit beside each other, three at most."""
    for columns in (3, 2, 1):
        each = max(1, -(-len(entries) // columns))
        parts = [entries[start : start + each] for start in range(0, len(entries), each)]
        if sum(map(_wide, parts)) <= WIDTH - 0.1:
            return parts
    return [entries]


def _wide(part: Sequence[tuple[str, Style]]) -> float:
    return _HANDLE + 0.22 + max(points(text) for text, _ in part) / 72


def headed(axes: Axes, text: str = "") -> None:
    """Write a heading at the left above a panel; its place is said, because finding one takes long."""
    axes.set_title(text, loc="left", y=1.0, pad=3.0)


def note(axes: Axes, text: str, place: tuple[float, float], **how: Any) -> None:
    """Write a short text at a place in the panel, on a ground that lines do not cross."""
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
    axes.annotate(shortened(text), place, fontsize=NOTE, bbox=ground, **how)


# A filled patch as the legend shows it
_PATCH = {"linewidth": 8.0, "alpha": 0.3, "solid_capstyle": "butt"}
FAINT = {"color": PALE, "linewidth": 0.9}
