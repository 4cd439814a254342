"""Labelled ticks with plain texts: mathematics and minor ticks take most of the time of a figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

Side = Literal["x", "y"]

# What a logarithmic axis of float64 numbers can show with room around it
SMALLEST, LARGEST = 1e-300, 1e300
_STEPS = [1, 2, 2.5, 5, 10]


def logarithmic(axes: Axes, side: Side, values: Iterable[Any], most: int = 6, offset: int = 0) -> tuple[float, float]:
    """Give a side a logarithmic scale around some values, with at least two labelled ticks; return its limits.

    Values that are not finite are passed over.  offset: how much less than their place ticks say, for whole numbers
    that start at zero.
    """
    numbers = [x for x in (np.ravel(value) for value in values) if x.size]
    flat = np.concatenate(numbers).astype(float) if numbers else np.ones(1)
    flat = flat[np.isfinite(flat) & (flat > 0)]
    low, high = (float(flat.min()), float(flat.max())) if flat.size else (1.0, 1.0)
    room = min(10.0, max(1.15, high**0.04 / low**0.04))
    low, high = low / room, high * room
    for subs in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        ticks = _powers(low, high, most, subs)
        if len(ticks) > 2:
            break
    if len(ticks) < 2:
        low, high = low / 3, high * 3
        ticks = _powers(low, high, most, (1, 2, 5))
    if offset:
        ticks = [tick + offset for tick in (0, *ticks) if low <= tick + offset <= high]
        ticks = ticks if len(ticks) > 1 else [offset, offset + 1]
        low, high = min(low, ticks[0]), max(high, ticks[-1])
    getattr(axes, f"set_{side}scale")("log")
    getattr(axes, f"set_{side}lim")(low, high)
    fixed(axes, side, ticks, [number_label(tick - offset) for tick in ticks])
    return low, high


def _powers(low: float, high: float, most: int, subs: Iterable[int]) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = tuple(subs)
    step = max(1, math.ceil((last - first) / most)) if factors == (1,) else 1
    start = -(-first // step) * step
    found = [factor * 10.0**power for power in range(start, last + 1, step) for factor in factors]
    inside = [tick for tick in found if low <= tick <= high]
    return inside if len(inside) <= 2 * most else []


def linear(axes: Axes, side: Side, values: Sequence[float], *, whole: bool = False, percent: bool = False) -> None:
    """Give a side a linear scale around some values; whole numbers have ticks at whole numbers, shares in percent."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    room = 0.5 if high - low < 1 and whole else 0.04 * (high - low) or max(0.5 * abs(high), 0.01)
    low, high = low - room, high + room
    getattr(axes, f"set_{side}lim")(low, high)
    locator = MaxNLocator(8 if whole else 4, integer=whole, steps=_STEPS, min_n_ticks=1 if whole else 2)
    found = [float(tick) for tick in locator.tick_values(low, high)]
    ticks = [tick for tick in found if low <= tick <= high]
    fixed(axes, side, ticks, [f"{100 * tick:g} %" if percent else number_label(tick) for tick in ticks])


def fixed(axes: Axes, side: Side, ticks: Sequence[float], labels: Sequence[str]) -> None:
    """Give a side these ticks and no other."""
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FixedFormatter(list(labels)))
    axis.set_minor_locator(NullLocator())


def number_label(value: float) -> str:
    """Return a number as a tick says it: 0.01, 1000, 1e-5, 3e8."""
    size = abs(value)
    if value == 0 or 1e-3 < size < 1e4:
        return f"{value:.6g}"
    mantissa, _, power = f"{value:.3e}".partition("e")
    return f"{float(mantissa):g}e{int(power)}"
