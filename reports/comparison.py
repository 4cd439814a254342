"""What changed from one run to another, as a table and a few lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reports.text import Table, count_text, number_text
from verify.files.documents import plain
from verify.integers import how_many
from verify.sweep.compare import Change, Comparison

# Groups of changes that a terminal shows; what is left out is counted.
MOST_GROUPS = 20

# What a change is about, the gravest first: of these, one group for each member.
_PARTS = ("status", "only", "formula", "quantisation", "rounding", "total")


def grouped(changes: Iterable[Change]) -> list[list[Change]]:
    """Return changes by member and by what they are about, the gravest first, and in each the one to tell of first."""
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.member, part_of(change.what)), []).append(change)
    for group in groups.values():  # of an error the relative one tells most
        group.sort(key=lambda change: (not change.what.endswith("_relative"), -size(change), change.input, change.what))
    ordered = sorted(groups.items(), key=lambda group: (_place(group[0][1]), -size(group[1][0])))
    return [group for _, group in ordered]


def changes_table(changes: Iterable[Change]) -> Table:
    """Return one row for each group of changes: the first of them, in how many cells, and of which inputs."""
    columns = ["member", "what", "from", "to", "ratio", "cells", "inputs"]
    rows = []
    for group in grouped(changes):
        first = group[0]
        times = "" if first.ratio is None else number_text(first.ratio)
        ends = [_end_text(first.before), _end_text(first.after)]
        rows.append([first.member, first.what, *ends, times, count_text(_cells(group)), _inputs(group)])
    return Table(columns, rows)


def change_lines(changes: Iterable[Change]) -> Iterator[str]:
    """Yield the same in words: a line for each group, with the numbers of its first change."""
    groups = grouped(changes)
    for group in groups[:MOST_GROUPS]:
        first = group[0]
        ends = "" if first.before is None and first.after is None else f" {_ends_text(first)}"
        times = "" if first.ratio is None else f", {number_text(first.ratio)} times"
        cells = how_many(_cells(group), "cell")
        yield f"{first.member}: {first.what}{ends}{times}; in {cells} of {_inputs(group)}"
    if len(groups) > MOST_GROUPS:
        yield f"and {how_many(len(groups) - MOST_GROUPS, 'other group')} of changes; --json has every one"


def _ends_text(change: Change) -> str:
    if change.what.startswith("only "):
        return f"({_end_text(change.before if change.after is None else change.after)})"
    return f"from {_end_text(change.before)} to {_end_text(change.after)}"


def _end_text(end: float | str | None) -> str:
    return "none" if end is None else end if isinstance(end, str) else number_text(end)


def _cells(group: Iterable[Change]) -> int:
    return len({(change.input, change.form, change.arithmetic) for change in group})


def _inputs(group: Iterable[Change]) -> str:
    inputs = sorted({change.input for change in group})
    return inputs[0] + (f" and {how_many(len(inputs) - 1, 'other input')}" if len(inputs) > 1 else "")


def part_of(what: str) -> str:
    """Return what a statistic is a part of: "formula" of "formula_q05" and of "formula of head [0]"."""
    first = what.replace(" ", "_").partition("_")[0]
    if "_bound_" in what:
        return "bound"
    return first if first in _PARTS else what


def size(change: Change) -> float:
    """Return how large a change is: the logarithm of its ratio, infinite where there is none."""
    if change.ratio is None or not change.ratio > 0.0 or math.isinf(change.ratio):
        return math.inf
    return abs(math.log(change.ratio))


def _place(part: str) -> int:
    return _PARTS.index(part) if part in _PARTS else len(_PARTS)


def summary_lines(found: Comparison, names: tuple[str, str]) -> Iterator[str]:
    """Yield what was compared, and under which circumstances."""
    cells = " and ".join(f"{name} ({how_many(count, 'cell')})" for name, count in zip(names, found.cells, strict=True))
    yield f"{cells}: {how_many(found.common, 'cell')} in both"
    for difference in found.differences:
        yield f"differs: {difference}"
    yield from found.unfinished
    if found.infinite:
        yield f"no finite error in {how_many(found.infinite, 'cell')} of the second run"


def verdict_lines(found: Comparison) -> Iterator[str]:
    """Yield whether anything changed."""
    lone = sum(change.what.startswith("only ") for change in found.changes)
    if found.nothing:
        within = found.common - found.equal
        others = f", differences within noise in {how_many(within, 'cell')}" if within else ""
        yield f"nothing changed: every number is equal in {how_many(found.equal, 'cell')}{others}"
        return
    if found.changed:
        yield f"changed: {how_many(found.changed, 'cell')} of {found.common:,} in both"
    if lone:
        yield f"only in one: {how_many(lone, 'cell')}"


def condition_lines(found: Comparison, conditions: Sequence[str]) -> Iterator[str]:
    """Yield how often each condition holds."""
    for text in conditions:
        times = sum(held == text for held, _ in found.held)
        where = f"holds in {how_many(times, 'cell')}" if times else "holds nowhere"
        yield f"{text}: {where}"


def changes_record(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """Return every change with raw values."""
    return [asdict(change) for change in changes]


def comparison_record(found: Comparison) -> Mapping[str, Any]:
    """Return everything that was found, as JSON holds it."""
    document: dict[str, Any] = plain(found)
    document["held"] = [{"condition": text, **plain(change)} for text, change in found.held]
    return document
