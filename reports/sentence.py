"""The answer in a sentence: on how many inputs and heads which mechanism comes within a tolerance, and at what."""

from __future__ import annotations

from collections.abc import Sequence

from reports.answer import Answer, Column, Subject
from verify.arguments import Value, value_text
from verify.integers import how_many


def answered(answer: Answer, tolerance: float) -> str:
    """Return the answer in a sentence; what was not measured is said to be, and never taken for a miss."""
    where = "with exact values" if answer.arithmetic is None else f"in {answer.arithmetic}"
    where += "" if answer.most is None else f", with at most {how_many(answer.most, 'number')} held per head"
    if not answer.series:
        return f"Nothing is compared with softmax {where}{_absent(answer)}."
    series = answer.series
    if len(series) > 1:
        first, *others = (_Phrase(answer, name, tolerance) for name in series)
        parts = "; ".join([first.named(), *(one.named(first) for one in others)])
        return f"Within {answer.within(tolerance)} of softmax {where}: {parts}{_absent(answer)}."
    if len(answer.subjects) == 1:
        return f"{_of_the_only(answer, answer.subjects[0], series[0], tolerance, where)}{_absent(answer)}."
    one = _Phrase(answer, series[0], tolerance)
    verb = "reaches" if one.reached <= 1 else "reach"
    told = f"{one.counted().capitalize()} {verb} {answer.within(tolerance)} with {one.series}{one.at}, {where}"
    return f"{told}{one.unmeasured}{_absent(answer)}."


class _Phrase:
    """What is said of one series on several inputs."""

    def __init__(self, answer: Answer, series: str, tolerance: float) -> None:
        heads = [head for subject in answer.subjects for head in subject.heads or (subject,)]
        hits, own = (_hits(answer, subjects, series, tolerance) for subjects in (answer.subjects, heads))
        self.series, self.reached, self.heads = series, len(hits), len(own)
        self.inputs = how_many(len(answer.subjects), "input")
        self.all_heads = sum(max(1, subject.head_count, len(subject.heads)) for subject in answer.subjects)
        self.several = any(len(subject.heads) > 1 or subject.head_count > 1 for subject in answer.subjects)
        self.at = _at(hits, own) or f"{_measured(answer, series)}"
        missing = sum(not answer.measured(subject, series) for subject in answer.subjects)
        self.unmeasured = f"; {how_many(missing, 'input')} not measured" if missing else ""

    def counted(self) -> str:
        """Return on how many inputs and heads it is enough."""
        heads = f" ({self.heads} of {how_many(self.all_heads, 'head')})" if self.several else ""
        return f"{self.reached or 'none'} of {self.inputs}{heads}"

    def named(self, first: _Phrase | None = None) -> str:
        """Return the same with the series; of how many is said once."""
        if first is None:
            counted = self.counted()
        else:
            heads = f" ({how_many(self.heads, 'head')})" if self.several and self.heads else ""
            counted = f"{self.reached or 'none'}{heads}"
        missing = self.unmeasured.removeprefix("; ")
        return f"{self.series} on {counted}{self.at}" + (f" ({missing})" if missing else "")


def _of_the_only(answer: Answer, subject: Subject, series: str, tolerance: float, where: str) -> str:
    if not answer.measured(subject, series):
        statuses = dict.fromkeys(point.status for point in subject.points.values())
        why = ", ".join(statuses) or "it has no cells"
        return f"The input was not measured with {series}, {where}: {why}"
    column = answer.reached(subject, series, tolerance)
    verb = "does not reach" if column is None else "reaches"
    at = _measured(answer, series) if column is None else f", at {column.place}" if column.axis else ""
    told = f"The input {verb} {answer.within(tolerance)} with {series}{at}, {where}"
    left = [
        answer.columns[p].place for p in answer.of(series) if p in subject.points and subject.points[p].error is None
    ]
    told += f"; {', '.join(left)} not measured" if left else ""
    if len(subject.heads) < 2:
        return told
    hits = _hits(answer, subject.heads, series, tolerance)
    do = "does" if len(hits) == 1 else "do"
    return f"{told}; {len(hits) or 'none'} of {how_many(len(subject.heads), 'head')} {do}{_at(hits, hits)}"


def _hits(answer: Answer, subjects: Sequence[Subject], series: str, tolerance: float) -> list[Column]:
    found = (answer.reached(subject, series, tolerance) for subject in subjects)
    return [column for column in found if column is not None]


def _at(hits: Sequence[Column], heads: Sequence[Column]) -> str:
    """Return at which values of the axis inputs, and heads if that is something else, come within the tolerance."""
    own, theirs = (_range(columns) for columns in (hits, heads))
    if not own:
        return f", heads at {theirs}" if theirs else ""
    return f", at {own}" + (f", heads at {theirs}" if theirs != own else "")


def _range(columns: Sequence[Column]) -> str:
    axis = next((column.axis for column in columns if column.axis), None)
    if axis is None:
        return ""
    values = sorted({column.along for column in columns}, key=_number)
    least, most = value_text(values[0]), value_text(values[-1])
    return f"{axis} {least}" + ("" if least == most else f" to {most}")


def _number(value: Value | None) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


MOST_VALUES = 6


def _measured(answer: Answer, series: str) -> str:
    """Return up to which value of the axis it was measured, or at which ones if some between were not."""
    columns = [answer.columns[place] for place in answer.of(series)]
    axis = columns[0].axis
    places = [
        place for subject in answer.subjects for place in subject.points if subject.points[place].error is not None
    ]
    along = sorted({answer.columns[p].along for p in places if answer.columns[p].series == series}, key=_number)
    if axis is None or not along:
        return ""
    last = value_text(along[-1])
    whole = [value for value in along if isinstance(value, int)]
    if (
        len(along) > 1
        and whole == list(range(whole[0] if whole else 0, (whole[-1] if whole else 0) + 1))
        and whole[0] <= 1
    ):
        return f" up to {axis} {last}"
    if len(along) > MOST_VALUES:
        return f" at {len(along)} values of {axis} up to {last}"
    return f" at {axis} {', '.join(map(value_text, along))}"


def _absent(answer: Answer) -> str:
    """Return how many inputs nothing is known of in this arithmetic."""
    if not answer.absent:
        return ""
    where = "with exact values" if answer.arithmetic is None else f"in {answer.arithmetic}"
    return f"; {how_many(len(answer.absent), 'other input')} not measured {where}"
