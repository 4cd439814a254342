"""The answers that runs hold, one for each arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from reports.answer import Answer, Column, Point, Subject
from reports.curves import arithmetics
from reports.frame import Runs, in_order
from verify.measure.summary import HeadSummary


def answers(runs: Runs, wanted: Callable[[pd.DataFrame], pd.Series] | None = None) -> list[Answer]:
    """Return the answer in every arithmetic measured, as they are listed: the last one is the coarsest.

    wanted: says of the cells of a frame which are; by default all.
    """
    frame = runs.frame if wanted is None else runs.frame[wanted(runs.frame)]
    costs = {(cost.member, cost.head_size, cost.value_size): cost for cost in runs.counts}
    heads = _heads(runs.heads)
    inputs = in_order(frame["label"])
    found = []
    for name in arithmetics(frame["arithmetic"]):
        own = frame[frame["arithmetic"] == name]
        columns = _columns(own)
        subjects = _subjects(own, heads, {column.member: place for place, column in enumerate(columns)})
        here = {subject.name for subject in subjects}
        absent = tuple(label for label in inputs if label not in here)
        found.append(Answer(name, columns, subjects, costs, absent=absent))
    return found


def cells_of(digests: Collection[str], names: Collection[str], arithmetics: Collection[str]) -> Any:
    """Return what says which cells are of these inputs, members with forms, and arithmetics."""

    def wanted(frame: pd.DataFrame) -> pd.Series:
        own = frame["member"] + "/" + frame["variant"]
        return frame["digest"].isin(digests) & own.isin(names) & frame["arithmetic"].isin(arithmetics)

    return wanted


def _columns(frame: pd.DataFrame) -> list[Column]:
    """Return the members that are compared with softmax, mechanism by mechanism and along the axis."""
    own = frame[frame["formula_error"].notna()]
    chosen = own.drop_duplicates("member")
    names = ("mechanism", "series", "axis", "along", "member")
    found = [Column(*values) for values in zip(*(chosen[name].tolist() for name in names), strict=True)]
    order = {series: place for place, series in enumerate(dict.fromkeys(column.series for column in found))}
    return sorted(
        found, key=lambda c: (c.axis is None, order[c.series], c.along if isinstance(c.along, int | float) else 0)
    )


# Of a cell: what the answer needs.
_CELL = ["label", "member", "series", "variant", "status", "total_relative", "nonpositive_exact", "measured_rows"]
_CELL += ["softmax_rounding", "head_size", "value_size", "largest_logit", "heads", "formula_error"]


def _subjects(
    frame: pd.DataFrame, heads: Mapping[int, Sequence[HeadSummary]], places: Mapping[str, int]
) -> list[Subject]:
    """Return the subjects of one arithmetic; of each series the form that the mechanism lists first is quoted."""
    leading: dict[tuple[str, str], str] = {}
    cells = list(zip(frame.index, zip(*(frame[name].tolist() for name in _CELL), strict=True), strict=True))
    for _, (label, _, series, variant, status, *_) in cells:
        if status == "ok":
            leading.setdefault((label, series), variant)
    drafts: dict[str, _Draft] = {}
    for row, (label, member, series, variant, status, error, lost, rows, own, *about, formula) in cells:
        draft = drafts.setdefault(label, _Draft(label, *about))
        if status == "ok":
            draft.softmax = own
            draft.note(heads.get(row, ()))
        if formula is None or leading.get((label, series), variant) != variant:
            continue
        place = places[member]
        if status != "ok":
            draft.points.setdefault(place, Point(None, status=status))
            continue
        draft.points[place] = Point(error, lost, rows)
        for head in heads.get(row, ()):
            draft.heads[head.head].points[place] = Point(head.total, head.nonpositive, head.rows)
    return [draft.subject() for draft in drafts.values()]


@dataclass
class _Draft:
    """A subject while its cells are read."""

    name: str
    head_size: int
    value_size: int
    largest_logit: float
    head_count: int = 1
    softmax: float | None = None
    points: dict[int, Point] = field(default_factory=dict)
    heads: dict[tuple[int, ...], _Draft] = field(default_factory=dict)

    def note(self, heads: Sequence[HeadSummary]) -> None:
        """Take in the heads there are."""
        for head in heads:
            if head.head not in self.heads:
                name = " ".join(map(str, head.head)) or "0"
                own = _Draft(name, self.head_size, self.value_size, head.largest_logit, softmax=head.softmax_rounding)
                self.heads[head.head] = own

    def subject(self) -> Subject:
        heads = tuple(head.subject() for head in self.heads.values()) if len(self.heads) > 1 else ()
        sizes = self.head_size, self.value_size
        return Subject(self.name, *sizes, self.largest_logit, self.points, self.softmax, heads, self.head_count)


def _heads(heads: pd.DataFrame) -> dict[int, list[HeadSummary]]:
    """Return the heads of every cell."""
    found: dict[int, list[HeadSummary]] = {}
    for cell, *summary in heads.itertuples(index=False, name=None):
        found.setdefault(cell, []).append(HeadSummary(*summary))
    return found
