"""Mechanisms side by side: the smallest error of each with a state no larger than the others'."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.answer import Answer, Column, Subject
from reports.text import Table, context_text, percent_text
from verify.integers import how_many

# Numbers that one head may hold
BUDGETS = tuple(10**power for power in range(1, 13))


@dataclass(frozen=True)
class EqualState:
    """The table, and the answer in a line."""

    table: Table
    text: str


def equal_state(answer: Answer) -> EqualState | None:
    """Return the best error of each series by numbers held per head; None where fewer than two have a state."""
    fitting = {budget: _fitting(answer, budget) for budget in BUDGETS}
    shown: list[int] = []
    for budget in BUDGETS:
        new = not shown or fitting[budget] != fitting[shown[-1]]
        if new and len({answer.columns[place].series for _, place in fitting[budget]}) > 1:
            shown.append(budget)
    if not shown:
        return None
    columns = ["input", *(f"{context_text(budget)}: {name}" for budget in shown for name in answer.series)]
    rows = []
    for subject in answer.subjects:
        bests = [_best(answer, subject, name, budget) for budget in shown for name in answer.series]
        rows.append([subject.name, *(_text(answer, best) for best in bests)])
    # the smallest state at which as many inputs as anywhere have something to compare
    most = max(shown, key=lambda budget: (_compared(answer, budget), -budget))
    return EqualState(Table(columns, rows).filled(1), _answer(answer, most))


def _compared(answer: Answer, budget: int) -> int:
    """Return on how many inputs more than one series has a member within a budget."""
    found = ([_best(answer, subject, name, budget) for name in answer.series] for subject in answer.subjects)
    return sum(len(bests) - bests.count(None) > 1 for bests in found)


def _fitting(answer: Answer, budget: int) -> frozenset[tuple[str, int]]:
    """Return the inputs, with the places of the members measured on them whose state is within a budget."""
    return frozenset(
        (subject.name, place)
        for subject in answer.subjects
        for place in subject.points
        if _fits(answer, subject, answer.columns[place], budget)
    )


def _fits(answer: Answer, subject: Subject, column: Column, budget: int) -> bool:
    cost = answer.costs.get((column.member, subject.head_size, subject.value_size))
    return cost is not None and cost.state_elements <= budget


Best = tuple[float, Column] | None


def _best(answer: Answer, subject: Subject, series: str, budget: int) -> Best:
    """Return the smallest error of a series on an input among its members within a budget."""
    found = []
    for place in answer.of(series):
        column, point = answer.columns[place], subject.points.get(place)
        error = None if point is None else point.error
        if error is not None and math.isfinite(error) and _fits(answer, subject, column, budget):
            found.append((error, place))
    return (min(found)[0], answer.columns[min(found)[1]]) if found else None


def _text(answer: Answer, best: Best) -> str:
    return "" if best is None else f"{percent_text(best[0])} at {answer.name(best[1])}"


def _answer(answer: Answer, budget: int) -> str:
    wins: dict[str, int] = {}
    for subject in answer.subjects:
        found = [(best[0], name) for name in answer.series if (best := _best(answer, subject, name, budget))]
        if len(found) > 1:
            wins[min(found)[1]] = wins.get(min(found)[1], 0) + 1
    told = ", ".join(f"{name} on {count}" for name, count in sorted(wins.items(), key=lambda item: -item[1]))
    compared = how_many(sum(wins.values()), "input")
    return (
        f"Side by side: closest with at most {context_text(budget)} numbers per head, of {compared}: {told or 'none'}"
    )
