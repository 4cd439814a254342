"""Run files to one data frame: a row per cell, a column per number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from verify.errors import InvalidRequestError
from verify.sweep.store import RunFile, Session

# What a cell is about; of two cells about the same (measured by different versions of the code) the later one is shown.
IDENTITY = ["input", "digest", "mechanism", "form", "order", "arithmetic"]
ERRORS = ("truncation", "deviation", "rounding", "quantisation", "total")
STATISTICS = ("max", "p95", "median", "rms", "relative", "bits_mean", "bits_max")
COLUMNS = [
    *["run", "session", "input", "kind", "digest", "head_size", "value_size", "queries", "keys", "heads", "causal"],
    *["scale", "logit_std", "measured_logit_std", "largest_logit", "mechanism", "form", "order", "terms", "arithmetic"],
    *["status", "reason", "rows", "nonpositive_exact", "nonpositive_computed", "nonfinite", "skill", "softmax_ratio"],
    *["features", "state_elements", "flops_per_token", "digits"],
    *[f"{error}_{statistic}" for error in ERRORS for statistic in STATISTICS],
]
_PLACES = {"file": 0, "sample": 1, "synthetic": 2}  # one's own inputs first, then real ones
_REALS = ["scale", "logit_std", "measured_logit_std", "largest_logit", "skill", "softmax_ratio"]
_REALS += [f"{error}_{statistic}" for error in ERRORS for statistic in STATISTICS]


@dataclass(frozen=True)
class Runs:
    """What one or more run files hold.  superseded: cells left out because a later session measured the same again."""

    frame: pd.DataFrame
    sessions: Sequence[tuple[str, Session]]
    superseded: int


def load_runs(paths: Sequence[Path]) -> Runs:
    """Read run files; InvalidRequestError if one cannot be read or none holds a cell."""
    rows: list[dict[str, Any]] = []
    sessions: list[tuple[str, Session]] = []
    for path in paths:
        with RunFile(path) as run:
            sessions.extend((path.name, session) for session in run.sessions())
            rows.extend({"run": path.name, **_flat(record)} for record in run.records())
    if not rows:
        raise InvalidRequestError(
            f"no cells in {', '.join(map(str, paths))}", "at least one finished cell", "run the sweep first"
        )
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS), dtype=object)
    for column in _REALS:
        frame[column] = pd.to_numeric(frame[column]).astype(float)  # "inf" and "nan" are numbers again
    latest = frame.drop_duplicates(IDENTITY, keep="last")
    order = ["place", "head_size", "input", "digest", "mechanism", "form", "arithmetic", "order"]
    ranked = latest.assign(place=latest["kind"].map(_PLACES)).sort_values(order, ignore_index=True)
    return Runs(ranked[COLUMNS], sessions, len(frame) - len(latest))


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    errors = record.pop("errors")
    return record | {
        f"{error}_{statistic}": value for error, summary in errors.items() for statistic, value in summary.items()
    }


def in_order(values: Iterable[Any]) -> list[Any]:
    """Return the different values in the order of their first appearance."""
    return list(dict.fromkeys(values))
