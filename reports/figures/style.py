"""How all figures look: colours told apart by colour-blind readers too, with markers and dashes as a second code."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl

from reports.text import printable

# Okabe and Ito's palette without its yellow, which white paper swallows
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#666666"
PALE = "#BBBBBB"

# More curves than this in one panel cannot be told apart: the rest stays in the tables, and the caption says so.
MOST_CURVES = len(COLOURS)
# Panels of one figure, where curves of several inputs would mix
MOST_PANELS = 4

# Inches and points: at 390 pixels a figure's width, ten points are ten pixels.
WIDTH = 5.2
TEXT = 10.0
NOTE = 9.0

_RC: Any = {
    "svg.hashsalt": "attnproof",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    # short, because SVG repeats it for every text; DejaVu comes with matplotlib, and the others are no wider
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "axes.labelpad": 3.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "xtick.bottom": False,
    "ytick.left": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "legend.fontsize": TEXT,
    "legend.frameon": False,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Let figures look like this, whatever somebody has set for figures of their own; restored afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def code(place: int) -> dict[str, Any]:
    """Return colour and marker of a curve by its place, below MOST_CURVES."""
    return {"color": COLOURS[place], "marker": MARKERS[place]}


def shortened(text: str, most: int = 50) -> str:
    """Return text on one line, without its start where it is wider than so many characters: names differ at the end.

    Never empty, and never led by an underscore: matplotlib leaves such names out of a legend.
    """
    shown = printable(text) or " "
    if _width(shown) > most:
        shown = shown[-(most - 3) :]
        while _width(shown) > most - 3:
            shown = shown[1:]
        shown = f"...{shown}"
    return f" {shown}" if shown.startswith("_") else shown


def wrapped(text: str, width: int, lines: int = 2) -> str:
    """Return text on as many lines, each at most so many characters wide, without its start where it is longer."""
    rest = shortened(text, width * lines - lines)
    parts: list[str] = []
    while rest and len(parts) < lines:
        end = len(rest)
        while _width(rest[:end]) > width:
            end -= 1
        if end < len(rest):
            end = max(rest.rfind(mark, 0, end) + 1 for mark in ",:; -") or end
            end = end if len(rest) - end <= width * (lines - len(parts) - 1) else min(len(rest), width)
        parts.append(rest[:end])
        rest = rest[end:]
    return "\n".join(parts)


def points(text: str) -> float:
    """Return about how wide a text in the size of legends is, in points; rather more than less."""
    return TEXT * sum(_NARROW if c in "iljtfr.,:;'|!()[]- " else 1.0 if c in "mwMW@%" else 0.64 for c in text)


_NARROW = 0.4


def _width(text: str) -> int:
    """Return how many characters wide a text is; a Chinese one counts twice."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
