"""The answer of a report: which inputs, and which of their heads, come within a tolerance, and at what."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from reports.curves import arithmetics
from reports.frame import Runs
from reports.text import error_text, percent_text
from verify.arguments import Value, value_text
from verify.families.costs import FeatureCost
from verify.integers import how_many
from verify.measure.summary import HeadSummary

# Relative errors that a reader may ask for, and the one that is answered first.
TOLERANCES = (1e-3, 1e-2, 1e-1)
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Column:
    """A member as the answer shows it: a series at a value of its axis, or by itself."""

    mechanism: str
    series: str
    axis: str | None
    along: Value | None
    member: str

    @property
    def heading(self) -> str:
        """The value on the axis; without one the member's name."""
        return self.member if self.axis is None else value_text(self.along)

    @property
    def place(self) -> str:
        """The value on the axis with its name; nothing without one."""
        return "" if self.axis is None else f"{self.axis} {value_text(self.along)}"


@dataclass(frozen=True)
class Point:
    """What one member does: its relative total error, and the rows whose exact sum of weights is not positive.

    error: None where it was not measured; status then says how the cell ended.
    """

    error: float | None
    nonpositive: int = 0
    rows: int = 0
    status: str = "ok"

    def within(self, tolerance: float) -> bool:
        """Whether the error is at most a tolerance; what is not finite never is."""
        return self.error is not None and self.error <= tolerance


@dataclass(frozen=True)
class Subject:
    """An input, or a head of one, with what was measured on it.

    points: by the place of their column.  softmax: conventional softmax's own rounding error, relative.
    """

    name: str
    head_size: int
    value_size: int
    largest_logit: float
    points: Mapping[int, Point]
    softmax: float | None
    heads: Sequence[Subject] = ()


@dataclass(frozen=True)
class Reach:
    """How far one series comes on some subjects: those within the tolerance, and at which columns first."""

    series: str
    first: Column
    last: Column
    inputs: Sequence[Column | None]
    heads: Sequence[Column | None]


@dataclass(frozen=True)
class Answer:
    """What was measured in one arithmetic, input by input.

    arithmetic: None for exact values.  costs: of members' features, by member and sizes.  metric: what errors are;
    relative ones are shown in percent.
    """

    arithmetic: str | None
    columns: Sequence[Column]
    subjects: Sequence[Subject]
    costs: Mapping[tuple[str, int, int], FeatureCost] = field(default_factory=dict)
    metric: str = "relative"

    def text(self, error: float | None) -> str:
        """Return an error as it is shown."""
        return percent_text(error) if self.metric == "relative" else error_text(error)

    def within(self, tolerance: float) -> str:
        """Return a tolerance as it is shown."""
        return self.text(tolerance) if self.metric == "relative" else f"{self.metric} error {tolerance:g}"

    def holding(self, most: int) -> Answer:
        """Return the answer of the members whose state is known and holds no more than so many numbers for one head."""
        small = {key[0] for key, cost in self.costs.items() if cost.state_elements <= most}
        large = {key[0] for key, cost in self.costs.items() if cost.state_elements > most}
        kept = [place for place, column in enumerate(self.columns) if column.member in small - large]
        places = {old: new for new, old in enumerate(kept)}
        return replace(
            self,
            columns=[self.columns[place] for place in kept],
            subjects=[_only(subject, places) for subject in self.subjects],
        )

    @property
    def series(self) -> list[str]:
        """The series there are, in order."""
        return list(dict.fromkeys(column.series for column in self.columns))

    def name(self, column: Column) -> str:
        """Return a column's name in a text: its place on the axis where only one series has an axis."""
        if column.axis is None:
            return column.series
        alone = len({own.series for own in self.columns if own.axis is not None}) == 1
        return column.place if alone else f"{column.series} {column.place}"

    def of(self, series: str) -> list[int]:
        """Return the places of a series' columns."""
        return [place for place, column in enumerate(self.columns) if column.series == series]

    def reached(self, subject: Subject, series: str, tolerance: float) -> Column | None:
        """Return the first column of a series at which a subject is within a tolerance."""
        for place in self.of(series):
            if place in subject.points and subject.points[place].within(tolerance):
                return self.columns[place]
        return None

    def best(self, subject: Subject, series: str | None = None) -> tuple[Column, Point] | None:
        """Return where the error is smallest, of one series or all; None if nothing finite was measured."""
        places = range(len(self.columns)) if series is None else self.of(series)
        found = [(place, subject.points[place]) for place in places if place in subject.points]
        finite = [(p.error, place, p) for place, p in found if p.error is not None and math.isfinite(p.error)]
        if not finite:
            return None
        _, place, point = min(finite, key=lambda one: one[:2])
        return self.columns[place], point

    def reach(self, series: str, tolerance: float) -> Reach:
        """Return how far a series comes."""
        places = self.of(series)
        heads = [head for subject in self.subjects for head in subject.heads or (subject,)]
        return Reach(
            series,
            self.columns[places[0]],
            self.columns[places[-1]],
            [self.reached(subject, series, tolerance) for subject in self.subjects],
            [self.reached(head, series, tolerance) for head in heads],
        )

    def reaches(self, tolerance: float) -> bool:
        """Whether every input comes within a tolerance by some series."""
        return bool(self.subjects) and all(
            any(self.reached(subject, series, tolerance) is not None for series in self.series)
            for subject in self.subjects
        )

    def _of_the_only(self, one: Reach, tolerance: float, where: str) -> str:
        (subject,), (column,) = self.subjects, one.inputs
        limit = f" up to {one.last.place}" if one.last.axis else ""
        at = f", at {column.place}" if column is not None and column.axis else limit if column is None else ""
        verb = "reaches" if column is not None else "does not reach"
        told = f"The input {verb} {self.within(tolerance)} with {one.series}{at}, {where}"
        if len(subject.heads) < 2:
            return f"{told}."
        reached = sum(head is not None for head in one.heads)
        heads = f"{reached or 'none'} of {how_many(len(one.heads), 'head')} {'does' if reached == 1 else 'do'}"
        return f"{told}; {heads}{_at(replace(one, inputs=())) if reached else ''}."

    def pays_from(self, subject: Subject, column: Column | None) -> int | None:
        """Return the context from which a member's state is smaller than the cache; None if it has no state."""
        if column is None:
            return None
        cost = self.costs.get((column.member, subject.head_size, subject.value_size))
        return None if cost is None else cost.kv_break_even

    @property
    def softmax(self) -> float | None:
        """The largest rounding error of conventional softmax."""
        return max((s.softmax for s in self.subjects if s.softmax is not None), default=None)

    def sentence(self, tolerance: float) -> str:
        """Return the answer in a sentence: on how many inputs and heads which mechanism is within the tolerance."""
        where = "with exact values" if self.arithmetic is None else f"in {self.arithmetic}"
        if not self.series:
            return f"Nothing is compared with softmax {where}."
        several = any(len(subject.heads) > 1 for subject in self.subjects)
        reaches = [self.reach(series, tolerance) for series in self.series]
        if len(reaches) == 1:
            (one,) = reaches
            if len(self.subjects) == 1:
                return self._of_the_only(one, tolerance, where)
            found = _count(one.inputs, "input", several, one.heads)
            verb = "reaches" if sum(c is not None for c in one.inputs) <= 1 else "reach"
            return f"{found} {verb} {self.within(tolerance)} with {one.series}{_at(one)}, {where}."
        first, *others = reaches
        parts = [f"{first.series} on {_count(first.inputs, 'input', several, first.heads).lower()}{_at(first)}"]
        parts += [f"{one.series} on {_short(one, several)}{_at(one)}" for one in others]
        return f"Within {self.within(tolerance)} of softmax {where}: {'; '.join(parts)}."


def _only(subject: Subject, places: Mapping[int, int]) -> Subject:
    points = {places[place]: point for place, point in subject.points.items() if place in places}
    return replace(subject, points=points, heads=[_only(head, places) for head in subject.heads])


def _count(found: Sequence[Column | None], noun: str, several: bool, heads: Sequence[Column | None]) -> str:
    reached = sum(column is not None for column in found)
    counted = f"{reached or 'None'} of {how_many(len(found), noun)}"
    if not several:
        return counted
    return f"{counted} ({sum(column is not None for column in heads)} of {how_many(len(heads), 'head')})"


def _short(reach: Reach, several: bool) -> str:
    """Return how many are within the tolerance, where it is known of how many."""
    inputs, heads = (sum(column is not None for column in found) for found in (reach.inputs, reach.heads))
    return f"{inputs or 'none'} ({how_many(heads, 'head')})" if several and heads else f"{inputs or 'none'}"


def _at(reach: Reach) -> str:
    """Return at which values of the axis, or up to which none was enough."""
    axis = reach.first.axis
    if axis is None:
        return ""
    hits = [column.along for column in (*reach.inputs, *reach.heads) if column is not None]
    if not hits:
        return f" up to {reach.last.place}"
    least, most = min(hits), max(hits)  # type: ignore[type-var]
    return f", at {axis} {value_text(least)}" + ("" if least == most else f" to {value_text(most)}")


def answers(runs: Runs, wanted: Callable[[pd.DataFrame], pd.Series] | None = None) -> list[Answer]:
    """Return the answer in every arithmetic measured, as they are listed: the last one is the coarsest.

    wanted: says of the cells of a frame which are; by default all.
    """
    frame = runs.frame if wanted is None else runs.frame[wanted(runs.frame)]
    columns = _columns(frame)
    costs = {(cost.member, cost.head_size, cost.value_size): cost for cost in runs.counts}
    places = {column.member: place for place, column in enumerate(columns)}
    found = _found(frame, runs.heads, places)
    return [Answer(name, columns, found[name], costs) for name in arithmetics(frame["arithmetic"]) if name in found]


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
_CELL = ["label", "arithmetic", "member", "series", "variant", "status", "total_relative", "nonpositive_exact", "rows"]
_CELL += ["softmax_rounding", "head_size", "value_size", "largest_logit", "formula_error"]


def _found(frame: pd.DataFrame, summaries: pd.DataFrame, places: Mapping[str, int]) -> dict[str, list[Subject]]:
    """Return the subjects by arithmetic; of each series the form that the mechanism lists first is quoted."""
    heads = _heads(summaries)
    leading: dict[tuple[str, str, str], str] = {}
    cells = list(zip(frame.index, zip(*(frame[name].tolist() for name in _CELL), strict=True), strict=True))
    for _, (label, arithmetic, _, series, variant, status, *_) in cells:
        if status == "ok":
            leading.setdefault((arithmetic, label, series), variant)
    drafts: dict[str, dict[str, _Draft]] = {}
    for row, (label, arithmetic, member, series, variant, status, error, lost, rows, own, *about) in cells:
        draft = drafts.setdefault(arithmetic, {}).setdefault(label, _Draft(label, *about[:3]))
        if status == "ok":
            draft.softmax = own
            draft.note(heads.get(row, ()))
        if about[3] is None or leading.get((arithmetic, label, series), variant) != variant:
            continue
        place = places[member]
        if status != "ok":
            draft.points.setdefault(place, Point(None, status=status))
            continue
        draft.points[place] = Point(error, lost, rows)
        for head in heads.get(row, ()):
            draft.heads[head.head].points[place] = Point(head.total, head.nonpositive, head.rows)
    return {arithmetic: [draft.subject() for draft in own.values()] for arithmetic, own in drafts.items()}


@dataclass
class _Draft:
    """A subject while its cells are read."""

    name: str
    head_size: int
    value_size: int
    largest_logit: float
    softmax: float | None = None
    points: dict[int, Point] = field(default_factory=dict)
    heads: dict[tuple[int, ...], _Draft] = field(default_factory=dict)

    def note(self, heads: Sequence[HeadSummary]) -> None:
        """Take in the heads there are."""
        for head in heads:
            if head.head not in self.heads:
                name = " ".join(map(str, head.head)) or "0"
                own = _Draft(name, self.head_size, self.value_size, head.largest_logit, head.softmax_rounding)
                self.heads[head.head] = own

    def subject(self) -> Subject:
        heads = tuple(head.subject() for head in self.heads.values()) if len(self.heads) > 1 else ()
        return Subject(self.name, self.head_size, self.value_size, self.largest_logit, self.points, self.softmax, heads)


def _heads(heads: pd.DataFrame) -> dict[int, list[HeadSummary]]:
    """Return the heads of every cell."""
    found: dict[int, list[HeadSummary]] = {}
    for cell, *summary in heads.itertuples(index=False, name=None):
        found.setdefault(cell, []).append(HeadSummary(*summary))
    return found
