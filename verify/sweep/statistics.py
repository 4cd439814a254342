"""The numbers of a record by the names that a run file and cells.csv have for them."""

from __future__ import annotations

from typing import Any

from verify.sweep.columns import CELL
from verify.sweep.record import Record

# What features cost belongs to the mechanism, whatever was measured.
_NUMBERS = tuple(column for column in CELL if column.number and column.path[0] != "counts")


def numbers_of(record: Record) -> dict[str, int | float]:
    """Return every number of a record by its name: "total_max", "rounding_bound_relative", "features", "negative".

    What a record does not have is left out; numbers by position, distance or head have no name.
    """
    found: dict[str, int | float] = {}
    for column in _NUMBERS:
        value: Any = record
        for name in column.path:
            value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        if value is not None:
            found[column.name] = value
    return found


def statistic_names() -> list[str]:
    """Return every name that `numbers_of` may give."""
    return [column.name for column in _NUMBERS]
