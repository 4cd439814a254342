"""The answer of a report: which inputs, and which of their heads, come within a tolerance, and at what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reports.text import error_text, percent_text, tolerance_text
from verify.arguments import Value, value_text
from verify.families.costs import FeatureCost, pays_from

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

    points: by the place of their column.  softmax: conventional softmax's own rounding error, relative.  head_count:
    how many heads there are, also where none was measured.
    """

    name: str
    head_size: int
    value_size: int
    largest_logit: float
    points: Mapping[int, Point]
    softmax: float | None
    heads: Sequence[Subject] = ()
    head_count: int = 1


@dataclass(frozen=True)
class Answer:
    """What was measured in one arithmetic, input by input.

    arithmetic: None for exact values.  costs: of members' features, by member and sizes.  metric: what errors are;
    relative ones are shown in percent.  absent: inputs that were asked about and have no cells in this arithmetic.
    most: the numbers that one head may hold, if that is limited.
    """

    arithmetic: str | None
    columns: Sequence[Column]
    subjects: Sequence[Subject]
    costs: Mapping[tuple[str, int, int], FeatureCost] = field(default_factory=dict)
    metric: str = "relative"
    absent: Sequence[str] = ()
    most: int | None = None

    def text(self, error: float | None) -> str:
        """Return an error as it is shown."""
        return percent_text(error) if self.metric == "relative" else error_text(error)

    def within(self, tolerance: float) -> str:
        """Return a tolerance as it is shown."""
        return tolerance_text(tolerance) if self.metric == "relative" else f"{self.metric} error {tolerance!r}"

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
            most=most,
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

    def reaches(self, tolerance: float) -> bool:
        """Whether every input that was asked about comes within a tolerance by some series."""
        return (
            bool(self.subjects)
            and not self.absent
            and all(
                any(self.reached(subject, series, tolerance) is not None for series in self.series)
                for subject in self.subjects
            )
        )

    def pays_from(self, subject: Subject, column: Column | None) -> int | None:
        """Return the first context at which a member's state is smaller than the cache; None if it has no state."""
        if column is None:
            return None
        cost = self.costs.get((column.member, subject.head_size, subject.value_size))
        return None if cost is None else pays_from(cost)

    def measured(self, subject: Subject, series: str) -> bool:
        """Whether there is any number of a series on a subject."""
        return any(place in subject.points and subject.points[place].error is not None for place in self.of(series))

    @property
    def softmax(self) -> float | None:
        """The largest rounding error of conventional softmax."""
        return max((s.softmax for s in self.subjects if s.softmax is not None), default=None)


def _only(subject: Subject, places: Mapping[int, int]) -> Subject:
    points = {places[place]: point for place, point in subject.points.items() if place in places}
    return replace(subject, points=points, heads=[_only(head, places) for head in subject.heads])
