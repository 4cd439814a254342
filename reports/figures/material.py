"""What figures draw from: measured cells in groups of inputs, those of leading variants, and the members shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from reports.figures.style import MOST_CURVES, shortened
from reports.figures.ticks import LARGEST, SMALLEST
from reports.frame import Runs, in_order, measured
from verify.arguments import value_text
from verify.families.costs import FeatureCost
from verify.integers import how_many
from verify.numbers.arithmetic import ARITHMETICS

# Members of one series that stand for all of it
_EACH = 4

_SEED = re.compile(r"(^|[,:])seed=\d+")

# Columns that figures read; a frame has four times as many.
_COLUMNS = [
    *["label", "kind", "head_size", "value_size", "keys", "mechanism", "member", "variant", "series", "axis", "along"],
    *["proposed", "formula_error", "arithmetic", "measured_rows", "nonpositive_exact", "pairs", "negative"],
    "top_key_agreement",
    *["softmax_rounding", "features", "state_elements", "flops_per_token", "seconds"],
    *["formula_relative", "rounding_relative", "total_relative"],
]


# Of these, what curves along an axis need
_ALONG = [
    *["label", "group", "mechanism", "series", "axis", "along", "variant", "arithmetic", "formula_error"],
    *["softmax_rounding", "formula_relative", "rounding_relative", "total_relative"],
    *["measured_rows", "nonpositive_exact", "pairs", "negative", "top_key_agreement"],
]


@dataclass(frozen=True)
class Drawing:
    """A figure that is drawn and not saved.  Members as in `reports.figures.saving.Figure`."""

    name: str
    title: str
    caption: str
    answer: str
    canvas: Canvas
    timing: bool = False


@dataclass(frozen=True)
class Subject:
    """The mechanism of a figure, and whether it is the only one with such a figure, so that nothing need name it."""

    mechanism: str
    alone: bool

    def title(self, text: str) -> str:
        """Return a title that names the mechanism where there are several."""
        name = shortened(self.mechanism)
        return text if self.alone or name in text else f"{name}: {text[0].lower()}{text[1:]}"

    def file(self, name: str) -> str:
        """Return a name for files that names the mechanism where there are several."""
        return name if self.alone else f"{name}_{self.mechanism}"


@dataclass(frozen=True)
class Material:
    """Measured cells of runs, as figures need them.

    cells: with `group`, the input, or several synthetic ones that differ in their seed only.
    """

    runs: Runs
    cells: pd.DataFrame

    @cached_property
    def led(self) -> pd.DataFrame:
        """The cells of each input's and series' leading variant: the last arithmetic listed, the first form."""
        last = self._in_last(["label", "series"])
        firsts = last.groupby(["label", "series"], sort=False)["variant"].transform("first")
        return last[last["variant"] == firsts]

    @cached_property
    def in_one_arithmetic(self) -> pd.DataFrame:
        """The cells of each input in the last arithmetic listed in which it was measured."""
        return self._in_last(["label"])

    def _in_last(self, keys: list[str]) -> pd.DataFrame:
        places = {name: place for place, name in enumerate(ARITHMETICS)}
        ranks = self.cells["arithmetic"].map(places).fillna(len(places))
        return self.cells[ranks == ranks.groupby([self.cells[key] for key in keys]).transform("max")]

    @cached_property
    def groups(self) -> list[str]:
        """The groups of inputs, in order."""
        return in_order(self.cells["group"])

    def along(self) -> Iterator[tuple[Subject, str, pd.DataFrame]]:
        """Yield (mechanism, axis, leading cells) of the mechanisms that have an axis."""
        own = self.led.loc[self.led["axis"].notna(), _ALONG]
        alone = own["mechanism"].nunique() == 1
        for name, cells in own.groupby("mechanism", sort=False):
            axis = shortened(str(cells["axis"].iloc[0]))
            yield Subject(str(name), alone), axis, cells.assign(along=cells["along"].astype(float))

    def polynomial(self, mechanism: str) -> bool:
        """Say whether a mechanism is a polynomial of the logits, of which odd orders become negative."""
        return any(cost.mechanism == mechanism and cost.order is not None for cost in self.runs.counts)

    @cached_property
    def members(self) -> pd.DataFrame:
        """The members measured, a row each: series, mechanism, axis, along, proposed and formula_error."""
        columns = ["member", "series", "mechanism", "axis", "along", "proposed", "formula_error"]
        return self.cells[columns].drop_duplicates("member").set_index("member")

    @cached_property
    def shown(self) -> list[str]:
        """Members that stand for all, at most six: what each series proposes, its last, and those before these two."""
        found = self.members[self.members["formula_error"].notna()]
        own = [cells for _, cells in found.groupby("series", sort=False)]
        several = sum(bool(cells["axis"].notna().all()) for cells in own)
        each = min(_EACH, max(1, (MOST_CURVES - 1 - (len(own) - several)) // max(1, several)))
        return [name for cells in own for name in _standing_for(cells, each)][: MOST_CURVES - 1]

    @cached_property
    def shown_first(self) -> list[str]:
        """Of the members shown the two that matter most: what is proposed, or the middle, and the last of a series."""
        found = self.members.loc[self.shown]
        along = found[found["axis"].notna()]
        chosen = along if len(along) else found
        first = chosen[chosen["series"] == chosen["series"].iloc[0]]
        return _standing_for(first, 2)

    def costs(self, *, polynomials: bool = False) -> Iterator[tuple[Subject, list[FeatureCost]]]:
        """Yield what features of a mechanism's measured members cost at the sizes of the inputs.

        polynomials: only of those whose costs have an order, and of each its first series.
        """
        found: dict[str, list[FeatureCost]] = {}
        for cost in self.runs.counts:
            if cost.member in self.members.index and (cost.order is not None or not polynomials):
                found.setdefault(cost.mechanism, []).append(cost)
        for name, own in found.items():
            series = [str(self.members.at[cost.member, "series"]) for cost in own]
            first = [cost for cost, one in zip(own, series, strict=True) if one == series[0]]
            yield Subject(name, len(found) == 1), first if polynomials else own

    def series_of(self, cost: FeatureCost) -> str:
        """Return what a legend or a caption calls the series of a member."""
        return shortened(str(self.members.at[cost.member, "series"]))

    def leading_member(self, members: Sequence[str]) -> str:
        """Return of some members of one mechanism the proposed one, or the last along the axis."""
        own = self.members.loc[in_order(members)]
        proposed = own[own["along"] == own["proposed"]]
        return str((proposed if len(proposed) else _in_axis_order(own)).index[0 if len(proposed) else -1])

    @cached_property
    def names(self) -> dict[str, str]:
        """What members are called in legends: by their axis alone if there is no other series."""
        own = self.members[self.members["axis"].notna()]
        alone = own["series"].nunique() == 1
        short = {
            name: f"{shortened(str(axis))} {axis_text(along)}"
            for name, axis, along in zip(own.index, own["axis"], own["along"], strict=True)
            if alone
        }
        return {name: short.get(name, shortened(name)) for name in self.members.index}


def material(runs: Runs) -> Material:
    """Return what figures draw from."""
    cells = measured(runs.frame[["status", *_COLUMNS]]).drop(columns="status")
    cells["axis"] = cells["axis"].where(cells["axis"].notna(), None)
    names = cells[["label", "kind"]].drop_duplicates("label")
    seedless = [_SEED.sub("", n) if kind == "synthetic" else n for n, kind in names.itertuples(index=False)]
    members: dict[str, list[str]] = {}
    for name, group in zip(names["label"], seedless, strict=True):
        members.setdefault(group, []).append(name)
    groups = {
        name: own[0] if len(own) == 1 else f"{group} ({how_many(len(own), 'seed')})"
        for group, own in members.items()
        for name in own
    }
    return Material(runs, cells.assign(group=cells["label"].map(groups)))


def _standing_for(cells: pd.DataFrame, most: int) -> list[str]:
    """Return of a series the proposed member, or the middle one, and the last one along the axis, each with the one
    before it: even and odd orders differ.  At most so many, in that order of importance; then others from the end.
    """
    ranked = _in_axis_order(cells)
    last = len(ranked) - 1
    places = np.flatnonzero((ranked["along"] == ranked["proposed"]).to_numpy(dtype=bool)).tolist()
    middle = places[0] if places else last // 2
    chosen = [place for place in in_order([middle, last, last - 1, middle - 1, *range(last, -1, -1)]) if place >= 0][
        :most
    ]
    return [str(ranked.index[place]) for place in sorted(chosen)]


def _in_axis_order(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.sort_values("along", kind="stable", key=lambda along: along.astype(float))


@dataclass
class Left:
    """What a figure leaves out, to be said in its caption."""

    curves: int = 0
    inputs: int = 0
    infinite: int = 0
    zero: int = 0
    other: list[str] = field(default_factory=list)

    def positive(self, values: Any) -> NDArray[np.float64]:
        """Return values with NaN where a logarithmic scale has no place for them, and count those."""
        numbers = np.asarray(values, dtype=float)
        inside = (numbers >= SMALLEST) & (numbers <= LARGEST)
        self.zero += int((numbers < SMALLEST).sum())
        self.infinite += int((~inside & ~(numbers < SMALLEST)).sum())
        return np.where(inside, numbers, np.nan)

    def first(self, names: Sequence[str], most: int = MOST_CURVES) -> Sequence[str]:
        """Return the first inputs, and count the others."""
        self.inputs += max(0, len(names) - most)
        return names[:most]

    def sentences(self) -> str:
        """Return what is left out, led by a space; empty if nothing is."""
        parts = [
            f"Left out, and in the tables: {how_many(self.inputs, 'more input')}." if self.inputs else "",
            f"Left out, and in the tables: {how_many(self.curves, 'more curve')}." if self.curves else "",
            f"Not drawn: {how_many(self.infinite, 'point')} with an infinite error." if self.infinite else "",
            f"Not drawn: {how_many(self.zero, 'point')} without any error." if self.zero else "",
            *self.other,
        ]
        return "".join(f" {part}" for part in parts if part)


@dataclass(frozen=True)
class Band:
    """A column along an axis: the median over inputs of a group, and what 5 and 95 % of them do not exceed."""

    x: NDArray[np.float64]
    low: NDArray[np.float64]
    middle: NDArray[np.float64]
    high: NDArray[np.float64]
    several: bool


def band(cells: pd.DataFrame, column: str) -> Band:
    """Return a column of some cells along their axis; what is no number counts as infinite."""
    x, places = np.unique(cells["along"].to_numpy(dtype=float), return_inverse=True)
    numbers = cells[column].to_numpy(dtype=float)
    numbers = np.where(np.isnan(numbers), np.inf, numbers)
    parts = [numbers[places == place] for place in range(len(x))]
    low, middle, high = np.array([quantiles(part) for part in parts]).T
    return Band(x, low, middle, high, any(len(part) > 1 for part in parts))


def quantiles(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what 5, 50 and 95 % of some numbers do not exceed, for each column: members of the sample."""
    ranked = np.sort(numbers, axis=0)
    return ranked[[max(0, -(-len(ranked) * percent // 100) - 1) for percent in (5, 50, 95)]]


def curves(cells: pd.DataFrame, left: Left) -> list[tuple[str, pd.DataFrame]]:
    """Return (name, cells) for the curves that a panel has room for, one for each group and series."""
    several = cells["series"].nunique() > 1
    keys = in_order(zip(cells["group"], cells["series"], strict=True))
    left.inputs += 0 if several else max(0, len(keys) - MOST_CURVES)
    left.curves += max(0, len(keys) - MOST_CURVES) if several else 0
    chosen = keys[:MOST_CURVES]
    few = cells[cells["group"].isin([group for group, _ in chosen])]
    return [
        (f"{group}, {series}" if several else group, few[(few["group"] == group) & (few["series"] == series)])
        for group, series in chosen
    ]


def computed_as(cells: pd.DataFrame) -> str:
    """Return in which forms and arithmetics some cells were computed, for a caption."""
    found = in_order(zip(cells["variant"], cells["arithmetic"], strict=True))
    return ", ".join(f"{shortened(variant)} in {arithmetic}" for variant, arithmetic in found[:4]) + (
        "" if len(found) <= 4 else " and others"
    )


def on_inputs(number: int, of: int) -> str:
    """Return on how many inputs something holds, led by a comma; empty if there is only one input."""
    return "" if of == 1 else f", on {number or 'none'} of {of} inputs"


def percent(part: float) -> str:
    """Return a share of a whole in percent with two digits."""
    return f"{100 * part:.0f} %" if part >= 0.995 else f"{100 * part:.2g} %"


def axis_text(value: Any) -> str:
    """Return a value on an axis as it is written."""
    return value_text(float(value))


def share(value: float) -> str:
    """Return a relative error in words: 3.4 %, 2e-05 %, infinite."""
    if not value <= LARGEST:
        return "infinite"
    return percent(value) if value < 10 else f"{value:.2g} times the output"
