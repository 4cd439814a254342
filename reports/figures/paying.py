"""Where features pay: contexts at which costs break even, layers of many heads, and what packing saves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes

from reports.figures.material import Drawing, Left, Material, Subject
from reports.figures.sheet import Sheet, headed
from reports.figures.style import GREY, MOST_CURVES, NOTE, PALE, code, shortened
from reports.figures.ticks import fixed, linear, logarithmic
from verify.families.costs import (
    FeatureCost,
    conventional_flops_per_token,
    kv_cache_size,
    multihead_cost,
    pays_from,
)

CONTEXTS = tuple(10**power for power in range(3, 9))
WIDTHS = tuple(range(1024, 8193, 1024))


def where_features_pay(material: Material) -> Iterator[Drawing]:
    """Yield for each mechanism with features its break-even curves, its heat maps, and what packing saves."""
    for subject, costs in material.costs():
        member = material.leading_member([cost.member for cost in costs])
        yield _break_even(material, subject, member, [cost for cost in costs if cost.member == member])
        portrait = material.runs.portraits.get(member)
        if portrait is not None and portrait.costs:
            yield _heat_maps(material, subject, member, portrait.costs)
    for subject, costs in material.costs(polynomials=True):
        packed = [cost for cost in costs if cost.dense_features is not None]
        if len({cost.order for cost in packed}) > 1:
            yield _packing(material, subject, packed)


def size_name(cost: FeatureCost) -> str:
    """Return how curves of a head size are called."""
    own = f"head size {cost.head_size}"
    return own if cost.value_size == cost.head_size else f"{own}, values {cost.value_size}"


def _break_even(material: Material, subject: Subject, member: str, costs: Sequence[FeatureCost]) -> Drawing:
    left = Left()
    left.curves += max(0, len(costs) - MOST_CURVES)
    with_flops = any(cost.flops_per_token is not None for cost in costs)
    sheet = Sheet(1 + with_flops, height=2.0, title_lines=1)
    drawn: list[list[float]] = [[], []]
    for place, cost in enumerate(costs[:MOST_CURVES]):
        key = sheet.key(size_name(cost), **code(place))
        cache = [kv_cache_size(n, cost.head_size, cost.value_size) for n in CONTEXTS]
        flops = [conventional_flops_per_token(n, cost.head_size, cost.value_size) for n in CONTEXTS]
        for number, axes, totals, own in zip(
            (cost.state_elements, cost.flops_per_token), sheet.panels, (cache, flops), drawn, strict=False
        ):
            if number is not None:
                values = [ratio(number, total) for total in totals]
                sheet.line(axes, CONTEXTS, left.positive(values), [key], **code(place))
                own.extend(values)
    for axes, says, own in zip(sheet.panels, ("memory", "FLOPs per token"), drawn, strict=False):
        even = sheet.kind("1: as much as conventional attention", linestyle="--")
        sheet.level(axes, 1.0, [even], color=GREY, linestyle="--", linewidth=1.0)
        logarithmic(axes, "x", [CONTEXTS], most=8)
        logarithmic(axes, "y", [[*own, 1.0]])
        headed(axes, f"{says}, as a multiple of conventional attention's")
        axes.set_xlabel("context, tokens")
        axes.set_ylabel("ratio")
    caption = (
        f"State of {shortened(member)} beside a cache of n (d_k + d_v) numbers, and its FLOPs per token beside"
        f" n (2 d_k + 2 d_v + 3), for one head.{left.sentences()}"
    )
    contexts = [pays_from(cost) for cost in costs]
    answer = f"its state is smaller than the cache from a context of {min(contexts):,} tokens"
    if len(contexts) > 1:
        first, last = costs[int(np.argmin(contexts))], costs[int(np.argmax(contexts))]
        answer += f" ({size_name(first)}) to {max(contexts):,} ({size_name(last)})"
    title = subject.title(f"Break-even of {material.names[member]}")
    return Drawing(subject.file("break_even"), title, caption, answer, sheet.finish())


def ratio(number: int, other: int) -> float:
    """Return the quotient of two integers of any size; infinite beyond float64."""
    try:
        return number / other
    except OverflowError:
        return np.inf


def _heat_maps(material: Material, subject: Subject, member: str, costs: Sequence[FeatureCost]) -> Drawing:
    with_flops = any(cost.flops_per_token is not None for cost in costs)
    sheet = Sheet(1 + with_flops, height=2.1, title_lines=1)
    totals = {
        (cost.head_size, width): multihead_cost(width, cost)
        for cost in costs
        for width in WIDTHS
        if width % cost.head_size == 0
    }
    sizes = [cost.head_size for cost in costs]
    for axes, attribute, says in zip(
        sheet.panels,
        ("total_state_elements", "total_flops_per_token"),
        ("numbers of state in a layer", "FLOPs per token in a layer"),
        strict=False,
    ):
        grid = [[getattr(totals.get((size, width)), attribute, None) for width in WIDTHS] for size in sizes]
        _map(axes, grid)
        headed(axes, says)
        fixed(axes, "x", range(len(WIDTHS)), [f"{width:d}" for width in WIDTHS])
        fixed(axes, "y", range(len(sizes)), [f"{size:d}" for size in sizes])
        axes.set_xlabel("width of the layer")
        axes.set_ylabel("head size")
    sheet.kind("no whole number of heads", color=PALE, linewidth=9, solid_capstyle="butt")
    caption = (
        f"What the heads of a layer of some width take together with {shortened(member)}, by head size; darker is more,"
        " on a logarithmic scale. k, M, G, T, P: 10^3 to 10^15."
    )
    whole = [(cost.total_state_elements, size) for (size, width), cost in totals.items() if width == WIDTHS[-1]]
    answer = f"a layer {WIDTHS[-1]} wide holds {brief(min(whole)[0])} numbers at head size {min(whole)[1]}"
    if len(whole) > 1:
        answer += f" and {brief(max(whole)[0])} at head size {max(whole)[1]}"
    title = subject.title(f"Layers of many heads, {material.names[member]}")
    return Drawing(subject.file("multihead_costs"), title, caption, answer, sheet.finish())


def _map(axes: Axes, grid: Sequence[Sequence[int | None]]) -> None:
    logs = np.array([[np.nan if not number else math.log10(number) for number in row] for row in grid])
    low, high = np.nanmin(logs), np.nanmax(logs)
    depth = (logs - low) / (high - low or 1.0)
    axes.grid(visible=False)
    pale, dark, none = np.array([0.93, 0.96, 0.99]), np.array([0.0, 0.28, 0.50]), np.array([0.73, 0.73, 0.73])
    colours = np.where(np.isnan(depth)[..., None], none, pale + depth[..., None] * (dark - pale))
    edges = [np.arange(count + 1) - 0.5 for count in reversed(depth.shape)]
    axes.pcolormesh(*edges, colours)
    axes.set_xlim(-0.5, depth.shape[1] - 0.5)
    axes.set_ylim(-0.5, depth.shape[0] - 0.5)
    for y, row in enumerate(grid):
        for x, number in enumerate(row):
            if number is not None:
                colour = "white" if depth[y, x] > 0.7 else "black"
                axes.text(x, y, brief(number), fontsize=NOTE, color=colour, ha="center", va="center")


def brief(number: int) -> str:
    """Return a count with two digits and a prefix: 850, 1.5k, 47M."""
    power = (len(str(number)) - 1) // 3
    if power > 5:
        return f"1e{len(str(number)) - 1}"
    value = number / 1000**power
    return (
        f"{value:.1f}{' kMGTP'[power].strip()}" if value < 9.95 and power else f"{value:.0f}{' kMGTP'[power].strip()}"
    )


def _packing(material: Material, subject: Subject, costs: Sequence[FeatureCost]) -> Drawing:
    left, sheet = Left(), Sheet(height=2.7)
    (axes,) = sheet.panels
    sizes = sorted({cost.head_size for cost in costs})
    left.curves += max(0, len(sizes) - MOST_CURVES)
    drawn = []
    for place, size in enumerate(sizes[:MOST_CURVES]):
        found = {cost.order: cost for cost in costs if cost.head_size == size and cost.order is not None}
        orders = sorted(found)
        values = [ratio(found[order].dense_features or 0, found[order].features) for order in orders]
        key = sheet.key(f"head size {size}", **code(place))
        sheet.line(axes, orders, left.positive(values), [key], **code(place))
        drawn.append(values)
    logarithmic(axes, "y", drawn)
    linear(axes, "x", sorted({cost.order for cost in costs if cost.order is not None}), whole=True)
    axes.set_xlabel("order")
    axes.set_ylabel("dense / packed features")
    caption = (
        f"How many times fewer features {material.series_of(costs[0])} keeps because a product has no order of its"
        f" factors.{left.sentences()}"
    )
    highest = max(cost.order for cost in costs if cost.order is not None)
    last = [ratio(cost.dense_features or 0, cost.features) for cost in costs if cost.order == highest]
    least, most = f"{min(last):,.4g}", f"{max(last):,.4g}"
    many = least if least == most else f"{least} to {most}"
    answer = f"packing keeps {many} times fewer features at order {highest}"
    title = subject.title("What packing saves")
    return Drawing(subject.file("packing"), title, caption, answer, sheet.finish())
