"""A figure as files, the same bytes for the same numbers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

FORMATS = ("svg", "png", "pdf")

# Dots per inch of a PNG
DPI = 200
# Of zlib: the usual 6 takes as long as drawing, for a tenth of the size
_LEVEL = 2


@dataclass(frozen=True)
class Figure:
    """One figure.

    name: of its files, without an ending.  title, caption: plain text.  answer: what it shows, in a sentence computed
    from the numbers.  images: bytes by format.  timing: it shows seconds, which differ from run to run.
    """

    name: str
    title: str
    caption: str
    answer: str
    images: Mapping[str, bytes]
    timing: bool = False


def saved(canvas: Canvas, format_: str) -> bytes:
    """Return the file of a finished canvas in one of FORMATS, with its fonts and without any date."""
    target = io.BytesIO()
    with warnings.catch_warnings():
        # a name in a script that the font lacks shows as boxes, and as itself in SVG
        warnings.filterwarnings("ignore", "Glyph .* missing")
        warnings.filterwarnings("ignore", ".*does not support")
        # a single pass: `savefig` would lay everything out once more first
        backend: Any  # matplotlib's own have no types
        if format_ == "png":
            canvas.set_dpi(DPI)
            backend = FigureCanvasAgg(canvas)
            backend.print_png(target, pil_kwargs={"compress_level": _LEVEL})
        elif format_ == "svg":
            backend = FigureCanvasSVG(canvas)
            backend.print_svg(target, metadata={"Date": None})
        else:
            # imported when it is used: a page needs none, and it takes as long as two figures
            from matplotlib.backends.backend_pdf import FigureCanvasPdf

            backend = FigureCanvasPdf(canvas)
            backend.print_pdf(target, metadata={"CreationDate": None})
    return target.getvalue()
