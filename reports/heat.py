"""The first table of a report: a row for every input and head, a column for every member, percent and colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.answer import TOLERANCE, TOLERANCES, Answer, Column, Point, Subject
from reports.sentence import answered
from reports.terminal import wrapped
from reports.text import Table, band, context_text, number_text, percent_text, printable
from verify.integers import how_many

# What is said where there is no number at all
NOTHING = "not measured"

# Inputs that a page shows; the sentence above counts all, and the rest is in the files beside it.
MOST_ROWS = 100

# Nobody's context is longer: what pays later pays nowhere.
LONGEST_CONTEXT = 10**9


@dataclass(frozen=True)
class HeatCell:
    """One error: what is written, its band of colour (None without a number), and what was lost."""

    text: str
    band: int | None
    value: float | None
    lost: str


@dataclass(frozen=True)
class Verdict:
    """What is said of a row for one tolerance: whether and at what it is reached, and from which context that pays."""

    reached: bool
    text: str
    heads: str
    pays: str


@dataclass(frozen=True)
class HeatRow:
    """An input or a head.  verdicts: one for each of TOLERANCES."""

    name: str
    about: str
    verdicts: Sequence[Verdict]
    best: str
    cells: Sequence[HeatCell]
    softmax: str
    heads: Sequence[HeatRow]


@dataclass(frozen=True)
class HeatTable:
    """The table of one arithmetic.

    groups: series with their axis and headings; sentences: the answer for each of TOLERANCES; left_out: inputs that
    have no row; lost: whether some row of weights sums to zero or less.
    """

    arithmetic: str
    sentences: Sequence[str]
    groups: Sequence[tuple[str, str, Sequence[str]]]
    rows: Sequence[HeatRow]
    left_out: int
    lost: bool


def heat_table(answer: Answer) -> HeatTable:
    """Return the table of one arithmetic."""
    rows = [_row(answer, subject) for subject in answer.subjects[:MOST_ROWS]]
    groups = [(name, *_headings(answer, name)) for name in answer.series]
    lost = any(cell.lost for row in rows for each in (row, *row.heads) for cell in each.cells)
    sentences = [answered(answer, tolerance) for tolerance in TOLERANCES]
    left_out = max(0, len(answer.subjects) - MOST_ROWS)
    return HeatTable(answer.arithmetic or "exact values", sentences, groups, rows, left_out, lost)


def _headings(answer: Answer, series: str) -> tuple[str, list[str]]:
    columns = [answer.columns[place] for place in answer.of(series)]
    return columns[0].axis or "", [column.heading for column in columns]


def _row(answer: Answer, subject: Subject, *, head: bool = False) -> HeatRow:
    largest = f"|logit| up to {number_text(subject.largest_logit)}"
    return HeatRow(
        name=f"head {subject.name}" if head else subject.name,
        about=largest if head else f"d {subject.head_size}, {largest}",
        verdicts=[_verdict(answer, subject, tolerance) for tolerance in TOLERANCES],
        best=best_text(answer, subject),
        cells=[_cell(subject.points.get(place)) for place in range(len(answer.columns))],
        softmax=percent_text(subject.softmax),
        heads=[_row(answer, each, head=True) for each in subject.heads],
    )


def _cell(point: Point | None) -> HeatCell:
    if point is None:
        return HeatCell("", None, None, "")
    if point.error is None:
        return HeatCell(point.status, None, None, "")
    lost = f"{point.nonpositive:,} of {how_many(point.rows, 'row')} with Z <= 0" if point.nonpositive else ""
    return HeatCell(percent_text(point.error), band(point.error), point.error, lost)


def _verdict(answer: Answer, subject: Subject, tolerance: float) -> Verdict:
    if not any(answer.measured(subject, name) for name in answer.series):
        return Verdict(False, NOTHING, "", "")
    found = [column for name in answer.series if (column := answer.reached(subject, name, tolerance)) is not None]
    heads = heads_text(answer, subject, tolerance) if subject.heads else ""
    return Verdict(bool(found), reached_text(answer, found), heads, pays_text(answer, subject, found))


def reached_text(answer: Answer, found: Sequence[Column]) -> str:
    """Return at what a tolerance is reached, "none" if nowhere."""
    return ", ".join(map(answer.name, found)) or "none"


def heads_text(answer: Answer, subject: Subject, tolerance: float) -> str:
    """Return how many heads of an input come within a tolerance, by whatever series."""
    reached = sum(
        any(answer.reached(head, series, tolerance) is not None for series in answer.series) for head in subject.heads
    )
    return f"{reached} of {len(subject.heads)}"


def best_text(answer: Answer, subject: Subject) -> str:
    """Return the smallest error there is, and at what."""
    best = answer.best(subject)
    if best is None:
        return ""
    column, point = best
    return f"{answer.text(point.error)} at {answer.name(column)}"


def pays_text(answer: Answer, subject: Subject, found: Sequence[Column]) -> str:
    """Return the context from which the smallest state among some members is smaller than a cache."""
    contexts = [context for column in found if (context := answer.pays_from(subject, column)) is not None]
    if not contexts:
        return ""
    least = min(contexts)
    return context_text(least) if least <= LONGEST_CONTEXT else "beyond 10^9"


# Inputs that a terminal shows
MOST_LINES = 20


def answer_table(answer: Answer, tolerance: float = TOLERANCE, most: int = MOST_LINES) -> Table:
    """Return the answer for a terminal: a row for each input, and for each head of the only one."""
    subjects = list(answer.subjects[:most])
    if len(subjects) == 1:
        subjects += list(subjects[0].heads)
    several = any(subject.heads for subject in answer.subjects[:most]) and len(subjects) > 1
    columns = ["input", f"{answer.within(tolerance)} at", *(["heads"] if several else []), "best", "pays from n"]
    rows = []
    for place, subject in enumerate(subjects):
        name = f"head {subject.name}" if place and len(answer.subjects) == 1 else subject.name
        verdict = _verdict(answer, subject, tolerance)
        heads = [verdict.heads] if several else []
        rows.append([name, verdict.text, *heads, best_text(answer, subject), verdict.pays])
    return Table(columns, rows, keys=1)


def answer_text(answer: Answer, width: int, tolerance: float = TOLERANCE, prefix: str = "") -> str:
    """Return the answer for a terminal of a width: the table, what it leaves out, softmax's own error, the sentence."""
    notes = []
    left_out = len(answer.subjects) - MOST_LINES
    if left_out > 0:
        notes.append(f"and {how_many(left_out, 'more input')}")
    if answer.softmax is not None:
        notes.append(f"softmax itself loses up to {answer.text(answer.softmax)} to rounding")
    lines = [answer_table(answer, tolerance).plain(width)] if answer.series else []
    texts = [text for text in ("; ".join(notes), prefix + answered(answer, tolerance)) if text]
    return "\n".join([*lines, *(wrapped(printable(text), width) for text in texts)])


def interrupted_text(cells: int, missing: int) -> str:
    """Return how much of a run is there, if not all of it, as the start of a sentence."""
    return f"Interrupted, {cells:,} of {how_many(cells + missing, 'cell')}: " if missing else ""


def answer_records(found: Sequence[Answer], tolerances: Sequence[float] = TOLERANCES) -> Iterator[dict[str, object]]:
    """Yield the answer for every input and head, series and arithmetic, with raw numbers."""
    for answer in found:
        for subject in answer.subjects:
            for each in (subject, *subject.heads):
                for series in answer.series:
                    yield _record(answer, subject, each, series, tolerances)


def _record(
    answer: Answer, subject: Subject, each: Subject, series: str, tolerances: Sequence[float]
) -> dict[str, object]:
    best = answer.best(each, series)
    record: dict[str, object] = {
        "input": subject.name,
        "head": "" if each is subject else each.name,
        "arithmetic": answer.arithmetic or "exact values",
        "series": series,
        "largest_logit": each.largest_logit,
        "softmax_rounding": each.softmax,
        "best": "" if best is None else best[0].heading,
        "best_error": "" if best is None else best[1].error,
    }
    for tolerance in tolerances:
        column = answer.reached(each, series, tolerance)
        record[f"within_{tolerance:g}"] = "" if column is None else column.heading
        record[f"pays_from_{tolerance:g}"] = answer.pays_from(each, column)
    return record
