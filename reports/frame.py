"""Run files to data frames: a row per cell, a row per cell and head, a column per number."""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from reports.described import Described, described
from verify.arguments import Value, value_text
from verify.attention.hazards import Hazards
from verify.errors import InvalidRequestError
from verify.families.costs import FeatureCost
from verify.files.documents import plain
from verify.measure.summary import BoundSummary, ErrorSummary, HeadSummary, RowSummary
from verify.measure.weights import WeightSummary
from verify.numbers.arithmetic import ARITHMETICS
from verify.sweep.portrait import Portrait
from verify.sweep.record import BOUNDS, ERRORS, Record, Status
from verify.sweep.store import RunFile, Session

# What a cell is about; of two cells about the same (measured by different versions of the code) the later one is shown.
IDENTITY = ["input", "digest", "mechanism", "member", "form", "options", "arithmetic"]
STATISTICS = tuple(f.name for f in fields(ErrorSummary))
HAZARDS = tuple(f.name for f in fields(Hazards))
HEAD = tuple(f.name for f in fields(HeadSummary))
_BOUND = tuple(f.name for f in fields(BoundSummary))
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
    *[f"{error}_{statistic}" for error in ERRORS for statistic in STATISTICS],
    *[f"{bound}_bound_{member}" for bound in BOUNDS for member in _BOUND],
]
# JSON as text: lists and objects
NESTED = ("by_position", "by_distance", "examples", "histogram", "logit_powers")
# What differs from run to run
TIMINGS = ("seconds",)
_FIRST_LABELS = ("order", "terms")
_PREFIX = "parameter_"
_PLACES = {"file": 0, "sample": 1, "synthetic": 2}  # one's own inputs first, then real ones
_REALS = ["scale", "logit_std", "measured_logit_std", "largest_logit", "skill", "softmax_ratio", "softmax_rounding"]
_REALS += [f"{error}_{statistic}" for error in ERRORS for statistic in STATISTICS if statistic != "unresolved"]
_REALS += [f"{bound}_bound_{member}" for bound in BOUNDS for member in ("relative", "share")]
_REALS += ["total_variation_mean", "total_variation_max", "top_key_agreement", "cancellation_weight"]
_REALS += ["cancellation_row", *_ROWS, *TIMINGS]
_UNKNOWN = float("nan")

# Cells that are held as rows before they are put into columns
ROWS = 2000


@dataclass(frozen=True)
class Runs:
    """What one or more run files hold.

    Of a cell the frame has, beside what its record says: label, its input's name, told apart from others of that name
    by its digest; options as text; variant, the form with its options; a column for each label of its member; axis and
    along, the parameter along which curves are drawn, and its value; series, the mechanism with its other parameters,
    so that cells of one series lie along one curve; proposed and formula_error, as the mechanism describes itself;
    seconds, that computing its output took.  heads: a row for each head of a measured cell, which is `cell`, a place in
    the frame.  mechanisms: by name.  portraits: what is known of members without any input, by name.  counts: what
    features cost, by mechanism and size.  superseded: cells left out because a later session measured the same again.
    missing: cells that a sweep was asked for and that are not there.
    """

    frame: pd.DataFrame
    heads: pd.DataFrame
    mechanisms: Mapping[str, Described]
    portraits: Mapping[str, Portrait]
    counts: Sequence[FeatureCost]
    sessions: Sequence[tuple[str, Session]]
    superseded: int
    missing: int


def load_runs(paths: Sequence[Path]) -> Runs:
    """Read run files; InvalidRequestError if one cannot be read, none holds a cell, or two do not fit together."""
    cells = _Cells()
    sessions: list[tuple[str, Session]] = []
    portraits: dict[str, Portrait] = {}
    for path in {path.resolve(): path for path in paths}.values():
        with RunFile(path) as run:
            found = run.sessions()
            sessions.extend((path.name, session) for session in found)
            portraits |= run.portraits()
            try:
                cells.read(run, path.name, {session.number: session.started for session in found})
            except ValueError as error:
                raise InvalidRequestError(
                    f"{path}, which is damaged ({error})", "what a sweep has written", "run the sweep into a new file"
                ) from error
    sessions.sort(key=lambda item: item[1].started)
    if not cells.described:
        raise InvalidRequestError(
            f"no cells in {', '.join(map(str, paths))}", "at least one finished cell", "run the sweep first"
        )
    frame = cells.frame()
    # files may come in any order; the sort keeps that of sessions
    latest = frame.sort_values("started", kind="stable").drop_duplicates(IDENTITY, keep="last")
    arithmetics = {name: place for place, name in enumerate(ARITHMETICS)}
    places = {"place": latest["kind"].map(_PLACES), "arithmetic_place": latest["arithmetic"].map(arithmetics)}
    order = ["place", "head_size", "input", "digest", "mechanism", "form_place", "form", "options"]
    order += ["arithmetic_place", "arithmetic", "series", "along", "member"]
    ranked = latest.assign(**places).sort_values(order)
    shown = ranked.drop(columns=[*_EXTRA, *places]).reset_index(drop=True)
    return Runs(
        frame=shown.assign(label=_told_apart(shown)),
        heads=cells.heads(ranked.index),
        mechanisms=_mechanisms([cells.described[row] for row in latest.index]),
        portraits=portraits,
        counts=sorted(cells.counts, key=lambda cost: (cost.mechanism, cost.head_size, cost.value_size, cost.features)),
        sessions=sessions,
        superseded=len(frame) - len(latest),
        missing=_missing(shown, sessions),
    )


# Columns by which cells are put in order, and which nobody is shown
_EXTRA = ("started", "form_place")


class _Cells:
    """The records of run files, column by column: of a hundred thousand cells each takes a few bytes a number."""

    def __init__(self) -> None:
        self.reals = {name: array("d") for name in _REALS}
        plain = [*_CELL, *_RESULTS, *NESTED, *_EXTRA]
        self.objects: dict[str, list[Any]] = {name: [] for name in plain if name not in self.reals}
        self.labels: dict[str, list[Value | None]] = {}
        self.described: list[Described] = []
        self.counts: dict[FeatureCost, None] = {}
        self.head_cells = array("q")
        self.head_names: list[tuple[int, ...]] = []
        self.head_reals = [array("d") for _ in HEAD[1:]]
        self._names = (*self.reals, *self.objects)
        self._rows: list[tuple[Any, ...]] = []
        self._same: dict[str, str] = {}

    def read(self, run: RunFile, name: str, started: Mapping[int, str]) -> None:
        """Take in the cells of a run file; ValueError for what no sweep writes."""
        mechanisms = {key: described(document, key[1]) for key, document in run.descriptors().items()}
        for session, record, seconds in run.records():
            own = mechanisms.get((session, record.mechanism))
            if own is None or session not in started:
                raise ValueError(f"mechanism {record.mechanism!r}, which session {session} does not describe")
            if record.status == Status.OK and ("formula" in record.errors) == (own.formula_error is None):
                raise ValueError(f"{record.member!r} without the errors of its mechanism, or with others")
            row = {"run": name, "session": session, "started": started[session], "seconds": seconds}
            self._add(record, own, row | _flat(record, own))

    def _add(self, record: Record, own: Described, row: Mapping[str, Any]) -> None:
        place = len(self.described)
        self._rows.append(tuple(map(row.get, self._names)))
        if len(self._rows) == ROWS:
            self._settle()
        for label in record.labels:
            self.labels.setdefault(label_column(label), [None] * place)
        for values in self.labels.values():
            values.append(None)
        for label, value in record.labels.items():
            self.labels[label_column(label)][place] = value
        self.described.append(own)
        if record.counts is not None:
            self.counts.setdefault(record.counts)
        for head in record.per_head:
            self.head_cells.append(place)
            self.head_names.append(head.head)
            for reals, name in zip(self.head_reals, HEAD[1:], strict=True):
                value = getattr(head, name)
                reals.append(_UNKNOWN if value is None else value)

    def _settle(self) -> None:
        """Put the last rows into columns: numbers side by side, and of equal texts one."""
        for name, values in zip(self._names, zip(*self._rows, strict=True), strict=False):
            if name in self.reals:
                self.reals[name].extend([_UNKNOWN if value is None else value for value in values])
            else:
                same = self._same
                self.objects[name].extend([same.setdefault(v, v) if type(v) is str else v for v in values])
        self._rows.clear()

    def frame(self) -> pd.DataFrame:
        """Return all cells, in the order in which they were read."""
        self._settle()
        labels = sorted(self.labels, key=lambda column: _place_of(_FIRST_LABELS, column))
        columns = [*_CELL, *labels, *_RESULTS, *NESTED, *TIMINGS, *_EXTRA]
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
        flat |= {f"{error}_{statistic}": value for statistic, value in vars(summary).items()}
    for bound, limit in record.bounds.items():
        flat |= {f"{bound}_bound_{member}": value for member, value in vars(limit).items()}
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


_TAKEN = {*_CELL, *_RESULTS, *NESTED, *TIMINGS, *_EXTRA, "place", "arithmetic_place"}


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


def _told_apart(cells: pd.DataFrame) -> pd.Series:
    """Return the names of inputs, with the start of the digest where two inputs of one name hold different things."""
    several = cells.groupby("input")["digest"].transform("nunique") > 1
    return cells["input"].where(~several, cells["input"] + " (digest " + cells["digest"].str[:8] + ")")


def _missing(cells: pd.DataFrame, sessions: Iterable[tuple[str, Session]]) -> int:
    """Return how many cells sweeps were asked for that are not there: of those that were interrupted."""
    asked: set[tuple[str, str, str]] = set()
    for _, session in sessions:
        asked |= set(_asked(session.provenance["spec"]))
    names = cells["member"] + "/" + cells["variant"]
    return len(asked - set(zip(cells["input"], names, cells["arithmetic"], strict=True)))


def _asked(spec: Any) -> Iterator[tuple[str, str, str]]:
    names = ("inputs", "cells", "arithmetics")
    lists: list[Any] = [spec.get(name) if isinstance(spec, dict) else None for name in names]
    if all(isinstance(own, list) and all(isinstance(text, str) for text in own) for own in lists):
        yield from product(*lists)


def _mechanisms(cells: Iterable[Described]) -> dict[str, Described]:
    """Return the latest description of every mechanism; InvalidRequestError if curves were drawn along another axis."""
    found: dict[str, Described] = {}
    for own in cells:
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


def measured(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that were measured."""
    return cells[cells["status"] == "ok"]
