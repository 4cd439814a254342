"""Cells of run files, column by column: read in spans, in this process or in others, and put together in order."""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from reports.described import Described, described
from verify.arguments import Value, value_text
from verify.attention.hazards import Hazards
from verify.families.costs import FeatureCost
from verify.files.documents import plain
from verify.measure.summary import BoundSummary, ErrorSummary, HeadSummary, RowSummary, WeightSummary
from verify.parallel.executors import in_turn
from verify.sweep.record import BOUNDS, ERRORS, Record, Status
from verify.sweep.store import RunFile, Span, damaged

STATISTICS = tuple(f.name for f in fields(ErrorSummary))
_ERROR_COLUMNS = {error: tuple(f"{error}_{statistic}" for statistic in STATISTICS) for error in ERRORS}
_BOUND_COLUMNS = {bound: tuple(f"{bound}_bound_{f.name}" for f in fields(BoundSummary)) for bound in BOUNDS}
HAZARDS = tuple(f.name for f in fields(Hazards))
HEAD = tuple(f.name for f in fields(HeadSummary))
_WEIGHTS = tuple(f.name for f in fields(WeightSummary) if f.name not in ("by_distance", "examples"))
_ROWS = tuple(f.name for f in fields(RowSummary) if f.name != "by_position")
_COSTS = ("features", "state_elements", "flops_per_token")
_CELL = ["run", "session", "input", "label", "kind", "digest", "head_size", "value_size", "queries", "keys", "heads"]
_CELL += ["causal", "scale", "logit_std", "measured_logit_std", "largest_logit", "mechanism", "member", "form"]
_CELL += ["options", "variant"]
# Between these two stands a column for everything that tables show of a member.
_RESULTS = [
    *["series", "axis", "along", "proposed", "formula_error", "arithmetic", "status", "reason", "cause"],
    *["rows", "nonpositive_exact", "undefined", *HAZARDS, *_WEIGHTS, *_ROWS],
    *["skill", "softmax_ratio", "softmax_rounding", *_COSTS, "digits", "without_digits"],
    *chain(*_ERROR_COLUMNS.values(), *_BOUND_COLUMNS.values()),
]
# JSON as text: lists and objects
NESTED = ("by_position", "by_distance", "examples", "histogram", "logit_powers")
# What differs from run to run
TIMINGS = ("seconds",)
_FIRST_LABELS = ("order", "terms")
_PREFIX = "parameter_"
_REALS = ["scale", "logit_std", "measured_logit_std", "largest_logit", "skill", "softmax_ratio", "softmax_rounding"]
_REALS += [f"{error}_{statistic}" for error in ERRORS for statistic in STATISTICS if statistic != "unresolved"]
_REALS += [f"{bound}_bound_{member}" for bound in BOUNDS for member in ("relative", "share")]
_REALS += ["total_variation_mean", "total_variation_max", "top_key_agreement", "cancellation_weight"]
_REALS += ["cancellation_row", *_ROWS, *TIMINGS]
_UNKNOWN = float("nan")

# Columns by which cells are put in order, and which nobody is shown
HIDDEN = ("started", "form_place")


# Cells that are read together, and held as rows meanwhile
SPAN = 2000


def read_cells(spans: Iterable[tuple[Path, Span]], executor: Executor | None) -> Cells:
    """Return the cells of spans, in their order; InvalidRequestError if a file is damaged, WorkerDiedError."""
    cells = Cells()
    for read in in_turn(executor, "read a run file", _read, spans):
        cells.extend(read)
    return cells


def _read(path: Path, span: Span) -> Cells:
    cells = Cells()
    with RunFile(path) as run:
        try:
            cells.read(run, span)
        except ValueError as error:
            raise damaged(path, error) from error
    return cells


class Cells:
    """The records of run files, column by column: of a hundred thousand cells each takes a few bytes a number."""

    def __init__(self) -> None:
        self.reals = {name: array("d") for name in _REALS}
        plain = [*_CELL, *_RESULTS, *NESTED, *HIDDEN]
        self.objects: dict[str, list[Any]] = {name: [] for name in plain if name not in self.reals}
        self.labels: dict[str, list[Value | None]] = {}
        self.described: list[Described] = []
        self.counts: dict[FeatureCost, None] = {}
        self.head_cells = array("q")
        self.head_names: list[tuple[int, ...]] = []
        self.head_reals = [array("d") for _ in HEAD[1:]]
        self._same: dict[Any, Any] = {}

    def read(self, run: RunFile, span: Span) -> None:
        """Take in cells of a run file; ValueError for what no sweep writes."""
        mechanisms = {key: described(document, key[1]) for key, document in run.descriptors().items()}
        started = {session.number: session.started for session in run.sessions()}
        names = (*self.reals, *self.objects)
        rows = []
        for session, record, seconds in run.records(span):
            own = mechanisms.get((session, record.mechanism))
            if own is None or session not in started:
                raise ValueError(f"mechanism {record.mechanism!r}, which session {session} does not describe")
            if record.status == Status.OK and ("formula" in record.errors) == (own.formula_error is None):
                raise ValueError(f"{record.member!r} without the errors of its mechanism, or with others")
            row = {"run": run.path.name, "session": session, "started": started[session], "seconds": seconds}
            rows.append(tuple(map((row | _flat(record, own)).get, names)))
            self._add(record, own)
        for name, values in zip(names, zip(*rows, strict=True), strict=True):
            if name in self.reals:
                self.reals[name].extend([_UNKNOWN if value is None else value for value in values])
            else:
                self._take_in(self.objects[name], values)

    def _add(self, record: Record, own: Described) -> None:
        """Take in what is no column of its own."""
        for label in record.labels:
            self.labels.setdefault(label_column(label), [None] * len(self.described))
        for values in self.labels.values():
            values.append(None)
        for label, value in record.labels.items():
            self.labels[label_column(label)][-1] = value
        if record.counts is not None:
            self.counts.setdefault(record.counts)
        for head in record.per_head:
            self.head_cells.append(len(self.described))
            self.head_names.append(head.head)
            for reals, name in zip(self.head_reals, HEAD[1:], strict=True):
                value = getattr(head, name)
                reals.append(_UNKNOWN if value is None else value)
        self.described.append(own)

    def _take_in(self, column: list[Any], values: Iterable[Any]) -> None:
        """Append to a column: of equal texts one is kept."""
        same = self._same
        column.extend([same.setdefault(value, value) if type(value) is str else value for value in values])

    def extend(self, others: Cells) -> None:
        """Append other cells."""
        place, more = len(self.described), len(others.described)
        for name, reals in others.reals.items():
            self.reals[name].extend(reals)
        for name, values in others.objects.items():
            self._take_in(self.objects[name], values)
        for label in self.labels | others.labels:
            own = self.labels.setdefault(label, [None] * place)
            own.extend(others.labels.get(label, [None] * more))
        self.described.extend(self._same.setdefault(own, own) for own in others.described)
        self.counts |= others.counts
        self.head_cells.extend(array("q", [place + cell for cell in others.head_cells]))
        self.head_names.extend(self._same.setdefault(head, head) for head in others.head_names)
        for into, reals in zip(self.head_reals, others.head_reals, strict=True):
            into.extend(reals)

    def frame(self) -> pd.DataFrame:
        """Return all cells, in the order in which they were read."""
        labels = sorted(self.labels, key=lambda column: _place_of(_FIRST_LABELS, column))
        columns = [*_CELL, *labels, *_RESULTS, *NESTED, *TIMINGS, *HIDDEN]
        made = {name: pd.Series(reals, dtype=float) for name, reals in self.reals.items()}
        made |= {name: pd.Series(values, dtype=object) for name, values in (self.objects | self.labels).items()}
        return pd.DataFrame({name: made[name] for name in columns})

    def heads(self, kept: pd.Index) -> pd.DataFrame:
        """Return the heads of the cells that were kept, in their order."""
        found = pd.DataFrame({"cell": self.head_cells, "head": self.head_names})
        for name, reals in zip(HEAD[1:], self.head_reals, strict=True):
            found[name] = pd.Series(reals, dtype=int if name in ("rows", "nonpositive") else float)
        places = pd.Series(range(len(kept)), index=kept)
        own = found[found["cell"].isin(kept)]
        return own.assign(cell=own["cell"].map(places)).sort_values("cell", kind="stable", ignore_index=True)


def _place_of(first: Sequence[str], name: str) -> int:
    return first.index(name) if name in first else len(first)


def _flat(record: Record, own: Described) -> dict[str, Any]:
    flat = dict(vars(record))
    for error, summary in record.errors.items():
        flat.update(zip(_ERROR_COLUMNS[error], vars(summary).values(), strict=True))
    for bound, limit in record.bounds.items():
        flat.update(zip(_BOUND_COLUMNS[bound], vars(limit).values(), strict=True))
    for group in (record.hazards, record.weights, record.output_rows):
        flat |= {} if group is None else vars(group)
    options = ",".join(f"{name}={value_text(value)}" for name, value in record.options.items())
    return (
        flat
        | {name: _json(flat[name]) for name in NESTED if flat.get(name) is not None}
        | {
            "options": options,
            "variant": f"{record.form}:{options}" if options else record.form,
            "status": str(record.status),
            "cause": record.cause,
            "series": _series(record.member, own.axis),
            "axis": own.axis,
            "along": _along(record, own.axis),
            "proposed": own.proposed,
            "formula_error": own.formula_error,
            "form_place": own.form_place(record.form),
        }
    )


_COMPACT = json.JSONEncoder(separators=(",", ":"), default=vars, allow_nan=False)


def _json(value: Any) -> str:
    try:
        return _COMPACT.encode(value)
    except ValueError:  # a number that is not finite
        return _COMPACT.encode(plain(value))


def nested(text: Any) -> Any:
    """Return what a cell's column of NESTED holds; an empty list where there is nothing."""
    return json.loads(text) if isinstance(text, str) else []


def label_column(label: str) -> str:
    """Return the column of what tables show of a member: that name, unless another column has it."""
    return _PREFIX + label if label in _TAKEN or label.startswith(_PREFIX) else label


_TAKEN = {*_CELL, *_RESULTS, *NESTED, *TIMINGS, *HIDDEN, "place", "arithmetic_place"}


def labels_among(columns: Iterable[str], axes: Collection[str]) -> list[tuple[str, str]]:
    """Return what tables show of members, as (label, column), of columns that have something; an axis comes first."""
    labels = [(column.removeprefix(_PREFIX), column) for column in columns if column not in _TAKEN]
    return sorted(labels, key=lambda label: label[0] not in axes)


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
