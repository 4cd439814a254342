"""Error against what it costs: state, FLOPs, and the time that a call took."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from reports.figures.material import Drawing, Left, Material, axis_text, on_inputs, share
from reports.figures.sheet import Sheet, note
from reports.figures.style import COLOURS, MARKERS, MOST_CURVES
from reports.figures.ticks import logarithmic
from reports.frame import in_order
from verify.numbers.arithmetic import ARITHMETICS

# Points have their place on the axis beside them where there are no more inputs than this.
_NAMED = 1


def frontiers(material: Material) -> Iterator[Drawing]:
    """Yield the total error of everything measured against each cost that is known."""
    for cost in (_STATE, _FLOPS, _TIME):
        drawing = _frontier(material, *cost)
        if drawing is not None:
            yield drawing


# Name of the file and of the column, title, and what the axis says
_STATE = ("state", "bytes", "Error against state", "bytes held per head")
_FLOPS = ("flops", "flops_per_token", "Error against FLOPs", "FLOPs per token and head")
_TIME = ("time", "seconds", "Error against measured time", "seconds for one call of the form")


def _frontier(material: Material, name: str, column: str, title: str, label: str) -> Drawing | None:
    cells = priced(material.in_one_arithmetic[_NEEDED], column)
    others = cells["formula_error"].notna()
    if not others.any():
        return None
    left, sheet = Left(), Sheet(height=3.1)
    (axes,) = sheet.panels
    groups = left.first(material.groups)
    series = in_order(cells.loc[others, "series"])
    left.curves += max(0, len(series) - MOST_CURVES)
    few = cells[cells["group"].isin(groups)]
    drawn = []
    for group, colour in zip(groups, COLOURS, strict=False):
        own = few[few["group"] == group]
        key = sheet.key(group, color=colour, linewidth=1.2)
        first, last = _undominated(own)
        if first.size:
            sheet.line(axes, first, last, [key], color=colour, linewidth=0.9, alpha=0.7, drawstyle="steps-post")
        for one, marker in [*zip(series, MARKERS, strict=False), (None, "*")]:
            points = own[own["formula_error"].isna()] if one is None else own[own["series"] == one]
            if points.empty:
                continue
            size = 13 if one is None else 5.5
            says = "conventional attention" if one is None else one
            kind = sheet.kind(says, marker=marker, markersize=size, linestyle="none")
            errors = left.positive(points["error"])
            drawn.append((points["cost"].to_numpy(dtype=float), errors))
            faded = points["dominated"].to_numpy()
            for chosen, keys, alpha in (
                (~faded, [key, kind], 1.0),
                (faded, [key, kind, _FADED], 0.25),
            ):
                if chosen.any():
                    how = {"color": colour, "marker": marker, "markersize": size, "alpha": alpha, "linestyle": "none"}
                    how |= {"markeredgewidth": 0.4, "markeredgecolor": "white"}
                    sheet.line(axes, drawn[-1][0][chosen], errors[chosen], keys, **how)
            if one is not None and len(groups) <= _NAMED:
                _named(sheet, points.assign(error=errors))
    if few["dominated"].any():
        sheet.kind(_FADED, marker="o", alpha=0.25, linestyle="none")
    logarithmic(axes, "x", [cost for cost, _ in drawn])
    logarithmic(axes, "y", [error for _, error in drawn], most=8)
    axes.set_xlabel(label)
    axes.set_ylabel("relative error")
    forms = ", of forms that keep a state, if its series has any, the one that takes least" if name != "time" else ""
    arithmetics = ", ".join(in_order(cells["arithmetic"]))
    caption = (
        f"Total error, relative, of every member{forms}; in {arithmetics}. Steps join what nothing of the same"
        f" input beats in both.{left.sentences()}"
    )
    return Drawing(f"error_by_{name}", title, caption, _within(cells, name), sheet.finish(), timing=name == "time")


_NEEDED = [
    *["label", "group", "series", "member", "variant", "along", "formula_error", "arithmetic", "total_relative"],
    *["features", "state_elements", "flops_per_token", "seconds"],
]
_FADED = "faded: something has less of both"


def _named(sheet: Sheet, points: pd.DataFrame) -> None:
    for _, point in points[points["along"].notna() & ~points["dominated"]].iterrows():
        if np.isfinite(point["error"]):
            place = (point["cost"], point["error"])
            note(sheet.panels[0], axis_text(point["along"]), place, textcoords="offset points", xytext=(4, 4))


def priced(cells: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return what is to be drawn: `error`, `cost` and whether a point is `dominated`, medians over a group's inputs.

    One point for a group and member, in the form that takes least, of a series that keeps a state somewhere among such
    forms; of times one point for every form.
    """
    cells = cells.assign(error=cells["total_relative"].astype(float).fillna(np.inf))
    if column == "seconds":
        chosen = cells.assign(cost=cells["seconds"].where(cells["seconds"] > 0))
    else:
        states = cells["features"].notna()
        kept = cells[states | ~states.groupby([cells["group"], cells["series"]]).transform("any")]
        numbers = kept["state_elements" if column == "bytes" else column].map(_number).astype(float)
        if column == "bytes":
            numbers *= np.where(kept["features"].notna(), *(kept["arithmetic"].map(sizes) for sizes in _BYTES))
        ranked = kept.assign(cost=numbers).sort_values("cost", kind="stable")
        chosen = ranked.drop_duplicates(["label", "member"]).sort_index()
    places = ["group", "member", "variant"]
    medians = chosen.groupby(places, sort=False)[["cost", "error"]].quantile(0.5, interpolation="lower")
    about = chosen[[*places, "series", "along", "formula_error", "arithmetic"]].drop_duplicates(places)
    found = about.merge(medians.reset_index(), on=places)
    found = found[found["cost"].notna()].reset_index(drop=True)
    return found.assign(dominated=_dominated(found))


# Bytes of a number by arithmetic: of a state, which sums are held in, and of a cache of inputs
_BYTES = (
    {name: own.sums.width // 8 for name, own in ARITHMETICS.items()},
    {name: own.inputs.width // 8 for name, own in ARITHMETICS.items()},
)


def _number(value: object) -> float:
    """Return a count as a figure takes it: NaN, which is not drawn, where it is unknown, none or beyond float64."""
    try:
        number = float(value)  # type: ignore[arg-type]  # an integer of any size, or None
    except (OverflowError, TypeError):
        return np.nan
    return number if number > 0 else np.nan


def _dominated(points: pd.DataFrame) -> pd.Series:
    """Say of which points another one of the same group has no more of error and cost, and less of one."""
    ranked = points.sort_values(["cost", "error"], kind="stable")
    before = ranked.groupby("group", sort=False)["error"].cummin().groupby(ranked["group"], sort=False).shift()
    beaten = ranked["error"] >= before.fillna(np.inf)
    # before the first of equal points stand only those that are better
    worse = beaten.groupby([ranked["group"], ranked["cost"], ranked["error"]], sort=False).transform("first")
    return worse.reindex(points.index)


def _undominated(cells: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return costs and errors of the cells that nothing beats, by cost, as far as they can be drawn."""
    found = cells[~cells["dominated"] & (cells["error"] > 0) & np.isfinite(cells["error"])]
    found = found.sort_values(["cost", "error"], kind="stable")
    return found["cost"].to_numpy(dtype=float), found["error"].to_numpy(dtype=float)


def _within(cells: pd.DataFrame, name: str) -> str:
    """Return the least error of what takes less than conventional attention on the same input."""
    words = {"state": "holds fewer bytes", "flops": "takes fewer FLOPs", "time": "took less time"}[name]
    own = cells["formula_error"].isna()
    least = cells[own].groupby("group")["cost"].min()
    if least.empty:
        return "conventional attention was not measured beside it"
    cheaper = cells[~own & (cells["cost"] < cells["group"].map(least))]
    if cheaper.empty:
        return f"nothing measured {words} than conventional attention"
    inputs = cells["group"].nunique()
    best = cheaper.groupby("group")["error"].min()
    errors = share(best.min()) if best.min() == best.max() else f"{share(best.min())} to {share(best.max())}"
    return f"the least error of what {words} than conventional attention is {errors}{on_inputs(len(best), inputs)}"
