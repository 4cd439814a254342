"""Which cells lie along one curve, and which curve summaries quote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.frame import in_order, measured
from verify.numbers.arithmetic import ARITHMETICS

Variant = tuple[str, str]  # a form with its options, and an arithmetic

# What differs between the exact values of a mechanism and of softmax, where several names stand in one column.
FORMULA_ERROR = "formula error"


@dataclass(frozen=True)
class Curve:
    """The measured cells of one series on one input in one arithmetic, along the axis, in the form that is quoted.

    formula: what the mechanism calls its formula error; None of what everything is compared with.  cells: their
    columns, by name.
    """

    label: str
    series: str
    axis: str
    arithmetic: str
    formula: str | None
    cells: Sequence[Mapping[str, Any]]


def leading_curves(frame: pd.DataFrame, columns: Sequence[str]) -> list[Curve]:
    """Return the curves of a frame, with these columns: of each the form that the mechanism lists first.

    It evaluates the formula as it stands, and serves every problem.
    """
    keys = ["label", "series", "arithmetic", "variant", "axis", "formula_error", "along"]
    own = frame[frame["axis"].notna() & (frame["status"] == "ok")]
    found: dict[tuple[str, str, str], tuple[list[Any], list[dict[str, Any]]]] = {}
    names = [*keys, *columns]
    for values in zip(*(own[name].tolist() for name in names), strict=True):
        cell = dict(zip(names, values, strict=True))
        about, cells = found.setdefault(values[:3], (list(values[3:6]), []))
        if about[0] == cell["variant"]:
            cells.append(cell)
    return [
        Curve(label, series, axis, arithmetic, formula, sorted(cells, key=lambda cell: cell["along"]))
        for (label, series, arithmetic), ((_, axis, formula), cells) in found.items()
    ]


def mechanisms(cells: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the mechanisms with an axis, and their cells."""
    yield from _groups(cells[cells["axis"].notna()], "mechanism")


def all_series(cells: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the series of mechanisms with an axis: a mechanism with its other parameters, and their cells."""
    yield from _groups(cells[cells["axis"].notna()], "series")


def members(cells: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the members of mechanisms with an axis, series by series and along the axis, and their cells."""
    yield from _groups(cells[cells["axis"].notna()].sort_values(["series", "along"], kind="stable"), "member")


def without_axis(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of mechanisms that have nothing to draw curves along."""
    return cells[cells["axis"].isna()]


def baseline(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of what everything is compared with: the mechanism that has no formula error."""
    return cells[cells["formula_error"].isna()]


def _groups(cells: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    yield from ((str(name), group) for name, group in cells.groupby(column, sort=False))


def axis_of(cells: pd.DataFrame) -> str:
    """Return the axis of cells of one mechanism."""
    return str(cells["axis"].iloc[0])


def formula_name(cells: pd.DataFrame) -> str:
    """Return what the formula error of some cells is called, if all who have one call it the same."""
    names = in_order(cells["formula_error"].dropna())
    return str(names[0]) if len(names) == 1 else FORMULA_ERROR


def variants(cells: pd.DataFrame) -> list[Variant]:
    """Return forms and arithmetics of measured cells: arithmetics as they are listed, forms as the mechanism does."""
    found = measured(cells)
    places = {name: place for place, name in enumerate(ARITHMETICS)}
    pairs = in_order(zip(found["variant"], found["arithmetic"], strict=True))
    return sorted(pairs, key=lambda pair: places.get(pair[1], len(places)))


def arithmetics(cells: pd.DataFrame) -> list[str]:
    """Return the arithmetics of some cells as they are listed, others behind them: the coarsest last."""
    places = {name: place for place, name in enumerate(ARITHMETICS)}
    return sorted(in_order(cells["arithmetic"]), key=lambda name: places.get(name, len(places)))


def leading_variant(cells: pd.DataFrame) -> Variant | None:
    """Return the variant that summaries quote: in the last arithmetic listed, the first form of the mechanism.

    A mechanism lists first the form that evaluates its formula as it stands, which serves every problem.
    """
    found = variants(cells)
    if not found:
        return None
    arithmetic = found[-1][1]
    return leading_form(cells, arithmetic) or "", arithmetic


def leading_form(cells: pd.DataFrame, arithmetic: str) -> str | None:
    """Return the form that summaries quote in an arithmetic, or None if none was measured."""
    forms = [form for form, other in variants(cells) if other == arithmetic]
    return forms[0] if forms else None


def curve(cells: pd.DataFrame, variant: Variant) -> pd.DataFrame:
    """Return the measured cells of one form and arithmetic along the axis."""
    form, arithmetic = variant
    chosen = cells[(cells["variant"] == form) & (cells["arithmetic"] == arithmetic)]
    return measured(chosen).sort_values(["series", "along"], kind="stable")


def share_text(cell: Any, count: str) -> str:
    """Return a count of rows as a part of all rows."""
    return f"{cell[count]:,} of {cell['rows']:,}"
