"""Which cells lie along one curve, and which curve summaries quote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.cells import labels_among
from reports.frame import in_order
from verify.arguments import value_text
from verify.numbers.arithmetic import ARITHMETICS

Variant = tuple[str, str]  # a form with its options, and an arithmetic
Cell = Mapping[str, Any]  # a row of a frame, by column

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


def known(value: Any) -> Any:
    """Return a value of a frame, None where there is none."""
    return None if value is None or value != value else value


def measured(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells that were measured."""
    return [cell for cell in cells if cell["status"] == "ok"]


def with_axis(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells of mechanisms that have something to draw curves along."""
    return [cell for cell in cells if cell["axis"] is not None]


def grouped(cells: Iterable[Cell], column: str) -> Iterator[tuple[str, list[Cell]]]:
    """Yield cells by what stands in a column, in order of appearance."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell[column], []).append(cell)
    yield from found.items()


def members(cells: Iterable[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    """Yield the members of mechanisms with an axis, series by series and along the axis, and their cells."""
    yield from grouped(sorted(with_axis(cells), key=lambda cell: (cell["series"], cell["along"])), "member")


def formula_name(cells: Iterable[Cell]) -> str:
    """Return what the formula error of some cells is called, if all who have one call it the same."""
    names = in_order(cell["formula_error"] for cell in cells if cell["formula_error"] is not None)
    return str(names[0]) if len(names) == 1 else FORMULA_ERROR


def arithmetics(names: Iterable[str]) -> list[str]:
    """Return names of arithmetics, each once, as they are listed, others behind them: the coarsest last."""
    places = {name: place for place, name in enumerate(ARITHMETICS)}
    return sorted(in_order(names), key=lambda name: places.get(name, len(places)))


def variants(cells: Iterable[Cell]) -> list[Variant]:
    """Return forms and arithmetics of measured cells: arithmetics as they are listed, forms as the mechanism does."""
    pairs = in_order((cell["variant"], cell["arithmetic"]) for cell in measured(cells))
    places = {name: place for place, name in enumerate(arithmetics(arithmetic for _, arithmetic in pairs))}
    return sorted(pairs, key=lambda pair: places[pair[1]])


def leading_variant(cells: Iterable[Cell]) -> Variant | None:
    """Return the variant that summaries quote: in the last arithmetic listed, the first form of the mechanism.

    A mechanism lists first the form that evaluates its formula as it stands, which serves every problem.
    """
    found = variants(cells)
    return next((pair for pair in found if pair[1] == found[-1][1]), None)


def of_variant(cells: Iterable[Cell], variant: Variant | None) -> Cell | None:
    """Return the first cell of a form and arithmetic; None if there is none."""
    return next((cell for cell in cells if (cell["variant"], cell["arithmetic"]) == variant), None)


def labels_of(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """Return what tables show of the members among some cells, as (label, column), the axis first."""
    names = list(cells[0]) if cells else []
    columns = [name for name in names if any(known(cell[name]) is not None for cell in cells)]
    return labels_among(columns, {cell["axis"] for cell in cells})


def label_cells(cell: Cell, labels: Sequence[tuple[str, str]]) -> list[str]:
    """Return what tables show of a member, in the order of the labels; empty where it has none."""
    values = (known(cell[column]) for _, column in labels)
    return ["" if value is None else value_text(value) for value in values]


def share_text(cell: Cell, count: str) -> str:
    """Return a count of rows as a part of those that were measured."""
    return f"{cell[count]:,} of {cell['measured_rows']:,}"
