"""What was not measured, a line for each cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reports.frame import in_order
from reports.text import Table
from verify.integers import how_many


def unmeasured_table(frame: pd.DataFrame) -> Table:
    """Return a line for each cause of cells that were refused, failed or crashed: reasons that differ in numbers only.

    The reason shown is that of the first such cell.
    """
    missing = frame[frame["status"] != "ok"]
    columns = ("label", "member", "variant", "arithmetic", "status", "reason", "cause")
    groups: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for cell in zip(*(missing[name].tolist() for name in columns), strict=True):
        groups.setdefault((cell[4], cell[6]), []).append(cell)
    rows = []
    for (status, _), cells in groups.items():
        what = in_order(f"{member}/{variant}" for _, member, variant, *_ in cells)
        rows.append([f"{len(cells):,}", status, _some(what), _some(in_order(cell[0] for cell in cells)), cells[0][5]])
    return Table(["cells", "status", "what", "inputs", "reason of the first"], rows)


def _some(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def unmeasured_text(frame: pd.DataFrame) -> str:
    """Return the answer in a line: how many cells were not measured, and for how many causes."""
    missing = frame[frame["status"] != "ok"]
    if missing.empty:
        return "Not measured: nothing, every cell asked for was measured"
    counts = missing["status"].value_counts(sort=False)
    told = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    causes = len(unmeasured_table(frame).rows)
    return f"Not measured: {how_many(len(missing), 'cell')} ({told}), for {how_many(causes, 'cause')}"
