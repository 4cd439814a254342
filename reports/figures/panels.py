"""A panel for each input, and a curve for each member in it: where errors and moved weights are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from reports.cells import nested
from reports.figures.material import Drawing, Left, Material, computed_as, percent, quantiles
from reports.figures.sheet import Sheet, headed
from reports.figures.style import GREY, MOST_PANELS, code, shortened, wrapped
from reports.figures.ticks import LARGEST, SMALLEST, linear, logarithmic
from verify.measure.summary import BINS

_TITLE = 26  # characters across a panel

Reals = NDArray[np.float64]


def by_input(material: Material) -> Iterator[Drawing]:
    """Yield the histograms of errors, errors by position, and weight moved by distance."""
    yield from _histograms(material)
    yield from _positions(material)
    yield from _distances(material)


def _panels(
    material: Material, column: str, left: Left
) -> tuple[Sheet, list[tuple[Axes, str, pd.DataFrame]], pd.DataFrame] | None:
    """Return a sheet, its panels with their inputs and cells of the members shown, and all cells of these members."""
    cells = material.led[material.led["member"].isin(material.shown)]
    own: dict[str, pd.DataFrame] = {}
    behind = len(material.groups)
    for place, group in enumerate(material.groups):  # what is not drawn is not read
        found = material.runs.places.with_nested(cells[cells["group"] == group])
        found = found[found[column].notna() & (found[column] != "[]")]
        if not found.empty:
            own[group] = found
        if len(own) == MOST_PANELS:
            behind = place + 1
            break
    if not own:
        return None
    groups = [*own]
    left.inputs += len(material.groups[behind:])
    left.curves += len(set(material.members.index[material.members["formula_error"].notna()]) - set(material.shown))
    lines = max(wrapped(group, _TITLE).count("\n") + 1 for group in groups)
    sheet = Sheet(len(groups), columns=2, height=1.75 if len(groups) > 2 else 2.4, title_lines=lines)
    panels = []
    for axes, group in zip(sheet.panels, groups, strict=True):
        headed(axes, wrapped(group, _TITLE if len(groups) > 1 else 2 * _TITLE))
        panels.append((axes, group, own[group]))
    return sheet, panels, cells


def _each(material: Material, cells: pd.DataFrame, column: str) -> Iterator[tuple[int, str, list[Any]]]:
    """Yield (place, member, what each input of the group has) of the members shown."""
    for place, member in enumerate(material.shown):
        found = [nested(text) for text in cells.loc[cells["member"] == member, column]]
        if found:
            yield place, member, found


def _histograms(material: Material) -> Iterator[Drawing]:
    left = Left()
    found = _panels(material, "histogram", left)
    if found is None:
        return
    sheet, panels, cells = found
    edges: list[Reals] = []
    tops = [0.0]
    for axes, _, own in panels:
        for place, member, each in _each(material, own, "histogram"):
            bins, shares = shares_of(each)
            key = sheet.key(material.names[member], color=code(place)["color"], linestyle=_dash(place))
            steps = np.append(bins, bins[-1] + 1) / BINS
            style = {"color": code(place)["color"], "linestyle": _dash(place), "drawstyle": "steps-post"}
            x, y = np.append(10.0**steps, 10.0 ** steps[-1]), np.concatenate([shares, shares[-1:], [0.0]])
            x, y = np.concatenate([x[:1], x]), np.concatenate([[0.0], y])
            sheet.line(axes, x, y, [key], **style)
            edges.append(10.0 ** steps[np.cumsum(np.append(shares, 0)) >= 0.002])
            tops.append(float(shares.max()))
    for axes, *_ in panels:
        logarithmic(axes, "x", edges, most=5)
        linear(axes, "y", [0.0, max(tops)], percent=True)
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel("|total error| of an element")
        axes.set_ylabel("share of elements")
    caption = (
        f"How the elements with an error spread over quarters of a decade; computed as {computed_as(cells)}."
        f"{left.sentences()}"
    )
    some = material.runs.places.with_nested(cells.head(2000))  # enough for an answer in words
    yield Drawing("error_histogram", "Histograms of errors", caption, _spread_of(some["histogram"]), sheet.finish())


def shares_of(each: Sequence[Sequence[tuple[int, int]]]) -> tuple[NDArray[np.int64], Reals]:
    """Return bins without a gap, and the share of all counted elements in each; of several inputs together."""
    pairs = np.array([pair for one in each for pair in one], dtype=np.int64).reshape(-1, 2)
    bins = np.arange(pairs[:, 0].min(), pairs[:, 0].max() + 1)
    counts = np.bincount(pairs[:, 0] - bins[0], weights=pairs[:, 1], minlength=len(bins))
    return bins, counts / counts.sum()


def _spread_of(texts: pd.Series) -> str:
    widths = [bins[-1] - bins[0] + 1 for bins in ([k for k, _ in nested(text)] for text in texts) if bins]
    middle = np.median(widths) / BINS
    return f"the errors within one output span {middle:.0f} decades (median over cells)"


def _positions(material: Material) -> Iterator[Drawing]:
    left = Left()
    found = _panels(material, "by_position", left)
    if found is None:
        return
    sheet, panels, cells = found
    drawn, places, ratios = [], [], []
    banded = material.shown_first
    for axes, _, own in panels:
        for place, member, each in _each(material, own, "by_position"):
            x, (low, middle, high) = spans(each, (3, 4, 5))
            key = sheet.key(material.names[member], **code(place))
            values = left.positive(middle)
            sheet.line(axes, x, values, [key], **code(place), markersize=3.5)
            drawn.append(values)
            if member in banded:
                low = np.maximum(low, np.where(high > 0, middle / 1e3, np.nan))
                inside = (low >= SMALLEST) & (high <= LARGEST)
                low, high = np.where(inside, low, np.nan), np.where(inside, high, np.nan)
                patch = axes.fill_between(x, low, high, color=code(place)["color"], alpha=0.15, linewidth=0)
                sheet.ground(patch, "5 to 95 % of the elements")
                drawn.append(high)
            places.append(x)
            if np.isfinite(values[[-1]]).all() and len(values) > 3 and np.isfinite(values[2]):
                ratios.append(values[-1] / values[2])
    for axes, *_ in panels:
        logarithmic(axes, "x", places, most=5, offset=1)
        logarithmic(axes, "y", drawn, most=6)
        axes.set_xlabel("position of the query")
        axes.set_ylabel("|total error|")
    caption = (
        "Median of the errors of the queries from one position to twice that; of"
        f" {' and '.join(material.names[member] for member in banded)} also what 5 and 95 % do not exceed, down to"
        f" a thousandth of the median; computed as {computed_as(cells)}.{left.sentences()}"
    )
    way = f"{np.median(ratios):.2g} times" if ratios else "not compared with"
    answer = f"the median error of the last queries is {way} that of the queries at positions 2 and 3"
    yield Drawing("error_by_position", "Error by position", caption, answer, sheet.finish())


def spans(each: Sequence[Sequence[Sequence[float]]], members: Sequence[int]) -> tuple[Reals, list[Reals]]:
    """Return the middles of spans (first, last, ...), one more than the place, and members of them: medians of inputs.

    The middle is geometric, of first + 1 and last + 1.
    """
    found: dict[tuple[float, float], list[list[float]]] = {}
    for one in each:
        for span in one:
            values = [float(span[member]) for member in members]
            found.setdefault((span[0], span[1]), []).append([np.inf if np.isnan(v) else v for v in values])
    keys = sorted(found)
    x = np.array([np.sqrt((first + 1.0) * (last + 1.0)) for first, last in keys])
    medians = np.array([quantiles(np.array(found[key]))[1] for key in keys])
    return x, list(medians.reshape(len(keys), len(members)).T)


def _distances(material: Material) -> Iterator[Drawing]:
    left = Left()
    found = _panels(material, "by_distance", left)
    if found is None:
        return
    sheet, panels, _ = found
    drawn, places = [], []
    far: list[tuple[float, str]] = []
    for axes, group, own in panels:
        weight: tuple[Reals, Reals] | None = None
        for place, member, each in _each(material, own, "by_distance"):
            x, (moved, softmax) = spans(each, (2, 3))
            key = sheet.key(material.names[member], **code(place))
            values = left.positive(moved)
            sheet.line(axes, x, values, [key], **code(place), markersize=3.5)
            drawn.append(values)
            places.append(x)
            weight = x, softmax
            far.append((float(np.sum(moved)), f"{material.names[member]}, {shortened(group)}"))
        if weight is not None:
            key = sheet.kind("weight of conventional softmax there", linestyle="--")
            sheet.line(axes, *weight, [key], color=GREY, linestyle="--", linewidth=1.0)
            drawn.append(weight[1])
    for axes, *_ in panels:
        logarithmic(axes, "x", places, most=5, offset=1)
        logarithmic(axes, "y", drawn)
        axes.set_xlabel("distance of the key, tokens")
        axes.set_ylabel("share of a row's weight")
    caption = (
        "Part of the total variation between exact weights and those of softmax that stands at keys so far from the"
        f" query, and softmax's own weight there: means over rows.{left.sentences()}"
    )
    yield Drawing("weight_by_distance", "Weight moved, by distance", caption, _moved(far), sheet.finish())


def _moved(far: Sequence[tuple[float, str]]) -> str:
    least, most = min(far), max(far)
    texts = [percent(value) if value <= 1e3 else "infinite" for value, _ in (least, most)]
    if texts[0] == texts[1]:
        return f"{texts[0]} of a row's weight is moved"
    return f"of a row's weight {texts[0]} ({least[1]}) to {texts[1]} ({most[1]}) is moved"


def _dash(place: int) -> Any:
    """Return the dashes of curves that have no markers."""
    return ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 3)))[place]
