"""All figures of a report, in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from reports.figures.along import error_along, formula_against_rounding
from reports.figures.by_logit import weight_by_logit
from reports.figures.failings import failings
from reports.figures.frontier import frontiers
from reports.figures.material import Drawing, Material, material
from reports.figures.panels import by_input
from reports.figures.paying import where_features_pay
from reports.figures.saving import FORMATS, Figure, saved
from reports.figures.style import house_style
from reports.figures.terms import terms
from reports.frame import Runs

_KINDS: tuple[Callable[[Material], Iterator[Drawing]], ...] = (
    error_along,
    frontiers,
    formula_against_rounding,
    by_input,
    weight_by_logit,
    failings,
    where_features_pay,
    terms,
)


def figures(runs: Runs, formats: Sequence[str] = FORMATS) -> list[Figure]:
    """Return every figure for which there is something measured, with its images in some of FORMATS.

    The same runs give the same bytes, but for figures that show timings.
    """
    found: list[Figure] = []
    with house_style():
        for drawing in drawings(material(runs)):
            images = {format_: saved(drawing.canvas, format_) for format_ in formats}
            file = file_name(drawing.name, [figure.name for figure in found])
            found.append(Figure(file, drawing.title, drawing.caption, drawing.answer, images, drawing.timing))
    return found


def drawings(own: Material) -> Iterator[Drawing]:
    """Yield the figures one after the other: a canvas takes more memory than its files."""
    if len(own.cells):
        for kind in _KINDS:
            yield from kind(own)


def file_name(name: str, taken: Sequence[str]) -> str:
    """Return a name that is a file's everywhere and not taken: mechanisms and axes are named by strangers."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:80]
    others = {other.lower() for other in taken}
    tries = (safe, *(f"{safe}_{number}" for number in range(2, len(taken) + 3)))
    return next(text for text in tries if text.lower() not in others)
