"""Run files to one data frame: a row per cell, a column per number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from verify.attention.hazards import Hazards
from verify.bounds import BoundSummary
from verify.errors import InvalidRequestError
from verify.measure.metrics import ErrorSummary
from verify.sweep.record import BOUNDS, ERRORS, Record
from verify.sweep.store import RunFile, Session

# What a cell is about; of two cells about the same (measured by different versions of the code) the later one is shown.
IDENTITY = ["input", "digest", "mechanism", "form", "order", "arithmetic"]
STATISTICS = tuple(f.name for f in fields(ErrorSummary))
HAZARDS = tuple(f.name for f in fields(Hazards))
_BOUND = tuple(f.name for f in fields(BoundSummary))
_WEIGHTS = [
    "total_variation_mean",
    "total_variation_max",
    "top_key_agreement",
    "top_key_undecided",
    "pairs",
    "negative",
]
_WEIGHTS += ["tiny_rows", "cancellation_weight", "cancellation_row"]
_ROWS = ["cosine_mean", "cosine_min"]
COLUMNS = [
    *["run", "session", "input", "kind", "digest", "head_size", "value_size", "queries", "keys", "heads", "causal"],
    *["scale", "logit_std", "measured_logit_std", "largest_logit", "mechanism", "form", "order", "terms", "arithmetic"],
    *["status", "reason", "rows", "nonpositive_exact", "undefined", *HAZARDS, *_WEIGHTS, *_ROWS],
    *["skill", "softmax_ratio", "softmax_rounding"],
    *["features", "state_elements", "flops_per_token", "digits", "without_digits"],
    *[f"{error}_{statistic}" for error in ERRORS for statistic in STATISTICS],
    *[f"{bound}_bound_{member}" for bound in BOUNDS for member in _BOUND],
    *["by_position", "by_distance", "examples"],
]
_PLACES = {"file": 0, "sample": 1, "synthetic": 2}  # one's own inputs first, then real ones
_REALS = ["scale", "logit_std", "measured_logit_std", "largest_logit", "skill", "softmax_ratio", "softmax_rounding"]
_REALS += [f"{error}_{statistic}" for error in ERRORS for statistic in STATISTICS if statistic != "unresolved"]
_REALS += [f"{bound}_bound_{member}" for bound in BOUNDS for member in ("relative", "share")]
_REALS += ["total_variation_mean", "total_variation_max", "top_key_agreement", "cancellation_weight"]
_REALS += ["cancellation_row", *_ROWS]


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
    for path in dict.fromkeys(path.resolve() for path in paths):
        with RunFile(path) as run:
            started = {session.number: session.started for session in run.sessions()}
            sessions.extend((path.name, session) for session in run.sessions())
            rows.extend(
                {"run": path.name, "session": number, "started": started[number], **_flat(record)}
                for number, record in run.records()
            )
    rows.sort(key=lambda row: row["started"])  # files may come in any order; the sort keeps that of sessions
    sessions.sort(key=lambda item: item[1].started)
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


def _flat(record: Record) -> dict[str, Any]:
    flat = asdict(record)
    for error, summary in flat.pop("errors").items():
        flat |= {f"{error}_{statistic}": value for statistic, value in summary.items()}
    for bound, summary in flat.pop("bounds").items():
        flat |= {f"{bound}_bound_{member}": value for member, value in summary.items()}
    for group in ("hazards", "weights", "output_rows"):
        flat |= flat.pop(group) or {}
    return flat


def in_order(values: Iterable[Any]) -> list[Any]:
    """Return the different values in the order of their first appearance."""
    return list(dict.fromkeys(values))


def by_input(frame: pd.DataFrame) -> Any:
    """Return the frame grouped by input: the name, and what it holds, together."""
    return frame.groupby(["input", "digest"], sort=False)


def measured(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that were measured."""
    return cells[cells["status"] == "ok"]
