"""The numbers of a record by the names that cells.csv has for them."""

from __future__ import annotations

from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from verify.attention.hazards import Hazards
from verify.measure.summary import BoundSummary, ErrorSummary, RowSummary, WeightSummary
from verify.sweep.record import BOUNDS, ERRORS, Record

# Members of a record that are summaries of their own, whose names stand for themselves.
_GROUPS = {"hazards": Hazards, "weights": WeightSummary, "output_rows": RowSummary}


def numbers_of(record: Record) -> dict[str, int | float]:
    """Return every number of a record by its name: "total_max", "rounding_bound_relative", "features", "negative".

    What a record does not have is left out; numbers by position, distance or head have no name.
    """
    found = _numbers(record)
    for error, summary in record.errors.items():
        found |= {f"{error}_{name}": number for name, number in _numbers(summary).items()}
    for bound, bounded in record.bounds.items():
        found |= {f"{bound}_bound_{name}": number for name, number in _numbers(bounded).items()}
    for group in _GROUPS:
        found |= _numbers(getattr(record, group))
    return found


def statistic_names() -> list[str]:
    """Return every name that `numbers_of` may give."""
    found = _numeric(Record)
    found += [f"{error}_{name}" for error in ERRORS for name in _numeric(ErrorSummary)]
    found += [f"{bound}_bound_{name}" for bound in BOUNDS for name in _numeric(BoundSummary)]
    return found + [name for kind in _GROUPS.values() for name in _numeric(kind)]


def _numbers(summary: Any) -> dict[str, int | float]:
    """Return the numbers that a dataclass holds itself; truth values are none."""
    if summary is None:
        return {}
    own = {field.name: getattr(summary, field.name) for field in fields(summary)}
    return {name: value for name, value in own.items() if type(value) in (int, float)}


def _numeric(kind: Any) -> list[str]:
    hints = get_type_hints(kind)
    return [f.name for f in fields(kind) if set(get_args(hints[f.name]) or (hints[f.name],)) <= {int, float, NoneType}]
