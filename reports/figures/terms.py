"""The highest coefficient of a polynomial beside the resolution of formats, and how large its term is on the inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from reports.cells import nested
from reports.figures.along import resolutions
from reports.figures.material import Drawing, Left, Material, Subject, quantiles
from reports.figures.paying import size_name
from reports.figures.sheet import Sheet, headed
from reports.figures.style import MOST_CURVES, code
from reports.figures.ticks import linear, logarithmic
from reports.frame import in_order
from verify.families.costs import FeatureCost
from verify.numbers.formats import FORMATS

_RATIONAL = re.compile(r"-?(\d+)(?:/(\d+))?")
_ROOT = re.compile(r"-?(\d+)/\(?(?:(\d+) )?sqrt\((\d+)\)\)?")


def terms(material: Material) -> Iterator[Drawing]:
    """Yield for each polynomial its highest coefficient by order, and the mean size of that term on the inputs."""
    for subject, costs in material.costs(polynomials=True):
        known = [cost for cost in costs if coefficient(cost.alpha) is not None]
        if len({cost.order for cost in known}) > 1:
            yield _terms(material, subject, known)


def coefficient(text: str | None) -> float | None:
    """Return the size of a coefficient written as a/b, a/(b sqrt(c)) or a/sqrt(c); None for anything else."""
    for pattern in (_RATIONAL, _ROOT):
        match = pattern.fullmatch(text or "")
        if match:
            top, below, *root = (int(group or 1) for group in match.groups())
            if below == 0 or 0 in root:
                return None
            try:
                return float(Fraction(top, below)) / math.sqrt(root[0] if root else 1)
            except OverflowError:
                return None
    return None


def per_logit(costs: Sequence[FeatureCost]) -> float | None:
    """Return the highest coefficient of one member as that of a power of the scaled logit s = q.k / sqrt(d_k).

    One that differs from head size to head size is that of a power of q.k, and is multiplied by sqrt(d_k)^p.
    """
    found = [coefficient(cost.alpha) for cost in costs]
    first, order = found[0], costs[0].order
    if first is None or order is None:
        return None
    return first if all(one == first for one in found) else first * math.sqrt(costs[0].head_size) ** order


def _terms(material: Material, subject: Subject, costs: Sequence[FeatureCost]) -> Drawing:
    left = Left()
    sheet = Sheet(2, height=2.1, title_lines=1)
    above, below = sheet.panels
    sizes = in_order(size_name(cost) for cost in costs)
    left.curves += max(0, len(sizes) - MOST_CURVES)
    alphas, sizes_of_terms = [], []
    for place, size in enumerate(sizes[:MOST_CURVES]):
        found = {cost.order or 0: coefficient(cost.alpha) for cost in costs if size_name(cost) == size}
        style = code(place) | {"linestyle": "--", "fillstyle": "none"}
        values = left.positive([found[order] for order in sorted(found)])
        sheet.line(above, sorted(found), values, [sheet.key(size, **style)], **style)
        alphas.append(values)
    portraits = material.runs.portraits
    members = {cost.order or 0: portraits[cost.member].costs for cost in costs if cost.member in portraits}
    known = {order: per_logit(own) for order, own in sorted(members.items()) if own}
    for place, group in enumerate(left.first(material.groups)):
        own = material.cells[material.cells["group"] == group].drop_duplicates("label")
        powers = np.array([[1.0, *nested(text)] for text in material.runs.places.with_nested(own)["logit_powers"]])
        orders = [order for order, c in known.items() if c is not None and order < powers.shape[1]]
        means = quantiles(powers)[1]
        values = left.positive([(known[order] or 0.0) * means[order] for order in orders])
        sheet.line(below, orders, values, [sheet.key(group, **code(place))], **code(place))
        sizes_of_terms.append(values)
    every = sorted({cost.order or 0 for cost in costs})
    titles = "coefficient of the highest degree, by head size", "mean size of the term on the inputs"
    for axes, title, drawn in zip(sheet.panels, titles, (alphas, sizes_of_terms), strict=True):
        resolutions(sheet, axes, logarithmic(axes, "y", [*drawn, [2.0**-11]], most=7))
        linear(axes, "x", every, whole=True)
        headed(axes, title)
        axes.set_xlabel("order p, the highest degree")
        axes.set_ylabel("size")
    caption = (
        f"Above: the coefficient of the highest degree at each order of {material.series_of(costs[0])}, as the"
        " mechanism gives it, of a power of q.k or of the scaled logit s. Below: that of s^p times the mean"
        f" of |s|^p over all attended pairs, s the scaled logit.{left.sentences()}"
    )
    answer = _answer(costs, sizes_of_terms)
    title = subject.title("Coefficients, and how large their terms are")
    return Drawing(subject.file("terms"), title, caption, answer, sheet.finish())


def _answer(costs: Sequence[FeatureCost], sizes: Sequence[NDArray[np.float64]]) -> str:
    """Return at which order the coefficient is below float16's resolution, and for how many inputs its term is."""
    resolution = 2.0 ** -FORMATS["float16"].precision
    small: dict[str, int] = {}
    for cost in sorted(costs, key=lambda cost: cost.order or 0):
        if (coefficient(cost.alpha) or 0.0) <= resolution:
            small.setdefault(size_name(cost), cost.order or 0)
    first = "no coefficient is below float16's resolution"
    if small:
        least, most = min(small, key=lambda size: small[size]), max(small, key=lambda size: small[size])
        first = f"coefficients are below float16's resolution from order {small[least]} ({least})"
        first += "" if small[least] == small[most] else f" to {small[most]} ({most})"
    below = sum(bool(values.size and values[-1] <= resolution) for values in sizes)
    if len(sizes) == 1:
        return f"{first}; the last term itself is {'below' if below else 'above'} it"
    return f"{first}; the last term itself is below it on {below or 'none'} of the {len(sizes)} inputs drawn"
