"""Run files to one data frame: a row per cell, a column per number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from reports.described import Described, described
from verify.arguments import Value, value_text
from verify.attention.hazards import Hazards
from verify.errors import InvalidRequestError
from verify.families.costs import FeatureCost
from verify.measure.summary import BoundSummary, ErrorSummary
from verify.sweep.record import BOUNDS, ERRORS, Record, Status
from verify.sweep.store import RunFile, Session

# What a cell is about; of two cells about the same (measured by different versions of the code) the later one is shown.
IDENTITY = ["input", "digest", "mechanism", "member", "form", "options", "arithmetic"]
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
_CELL = ["run", "session", "input", "kind", "digest", "head_size", "value_size", "queries", "keys", "heads", "causal"]
_CELL += ["scale", "logit_std", "measured_logit_std", "largest_logit", "mechanism", "member", "form", "options"]
_CELL += ["variant"]
# Between these two stands a column for everything that tables show of a member.
_RESULTS = [
    *["series", "axis", "along", "proposed", "formula_error", "arithmetic", "status", "reason"],
    *["rows", "nonpositive_exact", "undefined", *HAZARDS, *_WEIGHTS, *_ROWS],
    *["skill", "softmax_ratio", "softmax_rounding"],
    *["features", "state_elements", "flops_per_token", "digits", "without_digits"],
    *[f"{error}_{statistic}" for error in ERRORS for statistic in STATISTICS],
    *[f"{bound}_bound_{member}" for bound in BOUNDS for member in _BOUND],
    *["by_position", "by_distance", "examples"],
]
_FIRST_LABELS = ("order", "terms")
_PREFIX = "parameter_"
_PLACES = {"file": 0, "sample": 1, "synthetic": 2}  # one's own inputs first, then real ones
_REALS = ["scale", "logit_std", "measured_logit_std", "largest_logit", "skill", "softmax_ratio", "softmax_rounding"]
_REALS += [f"{error}_{statistic}" for error in ERRORS for statistic in STATISTICS if statistic != "unresolved"]
_REALS += [f"{bound}_bound_{member}" for bound in BOUNDS for member in ("relative", "share")]
_REALS += ["total_variation_mean", "total_variation_max", "top_key_agreement", "cancellation_weight"]
_REALS += ["cancellation_row", *_ROWS]


@dataclass(frozen=True)
class Runs:
    """What one or more run files hold.

    Of a cell the frame has, beside what its record says: options as text; variant, the form with its options; a column
    for each label of its member; axis and along, the parameter along which curves are drawn, and its value; series, the
    mechanism with its other parameters, so that cells of one series lie along one curve; proposed and formula_error,
    as the mechanism describes itself.  mechanisms: by name.  counts: what features cost, by mechanism and size.
    superseded: cells left out because a later session measured the same again.
    """

    frame: pd.DataFrame
    mechanisms: Mapping[str, Described]
    counts: Sequence[FeatureCost]
    sessions: Sequence[tuple[str, Session]]
    superseded: int


def load_runs(paths: Sequence[Path]) -> Runs:
    """Read run files; InvalidRequestError if one cannot be read, none holds a cell, or two do not fit together."""
    rows: list[dict[str, Any]] = []
    sessions: list[tuple[str, Session]] = []
    for path in dict.fromkeys(path.resolve() for path in paths):
        with RunFile(path) as run:
            found = run.sessions()
            sessions.extend((path.name, session) for session in found)
            try:
                rows.extend(_rows(run, path.name, {session.number: session.started for session in found}))
            except ValueError as error:
                raise InvalidRequestError(
                    f"{path}, which is damaged ({error})", "what a sweep has written", "run the sweep into a new file"
                ) from error
    rows.sort(key=lambda row: row["started"])  # files may come in any order; the sort keeps that of sessions
    sessions.sort(key=lambda item: item[1].started)
    if not rows:
        raise InvalidRequestError(
            f"no cells in {', '.join(map(str, paths))}", "at least one finished cell", "run the sweep first"
        )
    labels = in_order(column for row in rows for column in row["labels"])
    labels.sort(key=lambda column: _FIRST_LABELS.index(column) if column in _FIRST_LABELS else len(_FIRST_LABELS))
    columns = [*_CELL, *labels, *_RESULTS]
    frame = pd.DataFrame(
        [row | row["labels"] for row in rows], columns=pd.Index([*columns, "form_place", "described"]), dtype=object
    )
    for column in _REALS:
        frame[column] = pd.to_numeric(frame[column]).astype(float)  # "inf" and "nan" are numbers again
    latest = frame.drop_duplicates(IDENTITY, keep="last")
    order = ["place", "head_size", "input", "digest", "mechanism", "form_place", "form", "options", "arithmetic"]
    order += ["series", "along", "member"]
    ranked = latest.assign(place=latest["kind"].map(_PLACES)).sort_values(order, ignore_index=True)
    return Runs(ranked[columns], _mechanisms(latest), _counts(rows), sessions, len(frame) - len(latest))


def _counts(rows: Iterable[Mapping[str, Any]]) -> list[FeatureCost]:
    """Return what features cost, each once: mechanism by mechanism, by head size, value size and features."""
    found: list[FeatureCost] = in_order(row["counts"] for row in rows if row["counts"] is not None)
    return sorted(found, key=lambda cost: (cost.mechanism, cost.head_size, cost.value_size, cost.features))


def _rows(run: RunFile, name: str, started: Mapping[int, str]) -> Iterable[dict[str, Any]]:
    """Yield the cells of a run file; ValueError for what no sweep writes."""
    mechanisms = {key: described(document, key[1]) for key, document in run.descriptors().items()}
    for session, record in run.records():
        own = mechanisms.get((session, record.mechanism))
        if own is None or session not in started:
            raise ValueError(f"mechanism {record.mechanism!r}, which session {session} does not describe")
        if record.status == Status.OK and ("formula" in record.errors) == (own.formula_error is None):
            raise ValueError(f"{record.member!r} without the errors of its mechanism, or with others")
        yield {"run": name, "session": session, "started": started[session], **_flat(record, own)}


def _flat(record: Record, own: Described) -> dict[str, Any]:
    flat = asdict(record)
    for error, summary in flat.pop("errors").items():
        flat |= {f"{error}_{statistic}": value for statistic, value in summary.items()}
    for bound, summary in flat.pop("bounds").items():
        flat |= {f"{bound}_bound_{member}": value for member, value in summary.items()}
    for group in ("hazards", "weights", "output_rows"):
        flat |= flat.pop(group) or {}
    options = ",".join(f"{name}={value_text(value)}" for name, value in record.options.items())
    return flat | {
        "counts": record.counts,
        "labels": {label_column(name): value for name, value in record.labels.items()},
        "options": options,
        "variant": f"{record.form}:{options}" if options else record.form,
        "series": _series(record.member, own.axis),
        "axis": own.axis,
        "along": _along(record, own.axis),
        "proposed": own.proposed,
        "formula_error": own.formula_error,
        "form_place": own.form_place(record.form),
        "described": own,
    }


def label_column(label: str) -> str:
    """Return the column of what tables show of a member: that name, unless another column has it."""
    return _PREFIX + label if label in _TAKEN or label.startswith(_PREFIX) else label


_TAKEN = {*_CELL, *_RESULTS, "labels", "started", "form_place", "described", "place"}


def labels_of(cells: pd.DataFrame) -> list[tuple[str, str]]:
    """Return what tables show of the members among some cells, as (label, column), the axis first."""
    columns = [column for column in cells.columns if column not in _TAKEN and cells[column].notna().any()]
    labels = [(column.removeprefix(_PREFIX), column) for column in columns]
    return sorted(labels, key=lambda label: label[0] not in set(cells["axis"]))


def _series(member: str, axis: str | None) -> str:
    """Return a member's name without the parameter that is the axis."""
    mechanism, _, given = member.partition(":")
    others = [pair for pair in given.split(",") if pair and pair.partition("=")[0] != axis]
    return f"{mechanism}:{','.join(others)}" if others else mechanism


def _along(record: Record, axis: str | None) -> Value | None:
    """Return the value on the axis, a number that a figure can show; ValueError if there is none."""
    if axis is None:
        return None
    value = record.labels.get(axis)
    if isinstance(value, str | bool | None) or not -(2**53) <= value <= 2**53:
        raise ValueError(f"{record.member!r} without a value of {axis!r}")
    return value


def _mechanisms(cells: pd.DataFrame) -> dict[str, Described]:
    """Return the latest description of every mechanism; InvalidRequestError if curves were drawn along another axis."""
    found: dict[str, Described] = {}
    for own in cells["described"]:
        if own.name in found and (own.axis, own.formula_error) != (found[own.name].axis, found[own.name].formula_error):
            raise InvalidRequestError(
                f"runs in which mechanism {own.name!r} differs in its axis or its formula error",
                "one and the same mechanism",
                "report on each run by itself, or run the sweep into a new file",
            )
        found[own.name] = own
    return dict(sorted(found.items()))


def in_order(values: Iterable[Any]) -> list[Any]:
    """Return the different values in the order of their first appearance."""
    return list(dict.fromkeys(values))


def by_input(frame: pd.DataFrame) -> Any:
    """Return the frame grouped by input: the name, and what it holds, together."""
    return frame.groupby(["input", "digest"], sort=False)


def measured(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that were measured."""
    return cells[cells["status"] == "ok"]
