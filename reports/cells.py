"""Cells of run files, column by column, and what is derived of each: read at once, and put together in order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from reports.described import Described, described
from verify.arguments import Value
from verify.attention.hazards import Hazards
from verify.families.costs import FeatureCost
from verify.files.documents import decoded
from verify.measure.summary import HeadSummary
from verify.sweep.batches import Batch, Heads
from verify.sweep.columns import CELL, REST
from verify.sweep.record import cause_of, options_text, variant_of
from verify.sweep.store import RunFile

HAZARDS = tuple(f.name for f in fields(Hazards))
HEAD = tuple(f.name for f in fields(HeadSummary))
# JSON as text: what is no single number, and is read of few cells
NESTED = tuple(column.name for column in REST)
# Statistics of errors and of bounds, of which there are many: behind all other columns
SUMMARIES = [column.name for column in CELL if column.path[0] in ("errors", "bounds")]
# What differs from run to run
TIMINGS = ("seconds",)
# Columns by which cells are put in order, or found again in their files, and which nobody is shown
HIDDEN = ("started", "form_place", "file", "id")

_CELL = ["run", "session", "input", "label", "kind", "digest", "head_size", "value_size", "queries", "keys", "heads"]
_CELL += ["causal", "scale", "logit_std", "measured_logit_std", "largest_logit", "mechanism", "member", "form"]
_CELL += ["options", "variant"]
# Between these two stands a column for everything that tables show of a member.
_RESULTS = ["series", "axis", "along", "proposed", "formula_error", "arithmetic", "status", "reason", "cause"]
_COUNTS = [column for column in CELL if column.path[0] == "counts"]
_OTHERS = [column for column in CELL if column not in _COUNTS and column.name not in (*_CELL, *_RESULTS, "labels")]
_RESULTS += [column.name for column in sorted(_OTHERS, key=lambda column: column.name in SUMMARIES)]
_TEXTS = {column.name for column in CELL if column.type == "TEXT"} | {"options", "variant", "series", "cause"}
# Of these, what tables and figures show; all others are read when cells.csv is written.
_SHOWN = {"formula_max", "quantisation_max", "total_rms", "rounding_digits_median", "formula_bound_share"}
_SHOWN |= {"rounding_bound_share"} | {name for name in SUMMARIES if name.endswith("_relative")}
LOADED = [column for column in CELL if column.name not in SUMMARIES or column.name in _SHOWN]
LOADED = [column for column in LOADED if column not in _COUNTS]
WIDE = [name for name in SUMMARIES if name not in {column.name for column in LOADED}]
_FIRST_LABELS = ("order", "terms")
_PREFIX = "parameter_"


class Cells:
    """The cells of run files, column by column: of a hundred thousand cells each takes a few bytes a number."""

    def __init__(self) -> None:
        self.reals: dict[str, list[Any]] = {name: [] for name in TIMINGS}
        self.reals |= {column.name: [] for column in LOADED if column.type == "REAL"}
        named = [*_CELL, *_RESULTS, *HIDDEN, "labels"]
        self.objects: dict[str, list[Any]] = {name: [] for name in named if name not in (*self.reals, *WIDE)}
        self.described: list[Described] = []
        self.counts: dict[FeatureCost, None] = {}
        self.head_parts: list[pd.DataFrame] = []
        self._same: dict[Any, Any] = {}
        self._files = 0

    def read(self, run: RunFile) -> None:
        """Take in all cells of a run file; ValueError for what no sweep writes."""
        mechanisms = {key: described(document, key[1]) for key, document in run.descriptors().items()}
        started = {session.number: session.started for session in run.sessions()}
        batches, heads = run.numbers(LOADED)
        self.counts |= dict.fromkeys(run.counts())
        first = len(self.described)
        for batch in batches:
            self._add(batch, mechanisms, {"run": run.path.name, "label": None, "file": self._files}, started)
        self._add_heads(heads, np.concatenate([batch.ids for batch in batches]) if batches else None, first)
        self._files += 1

    def _add(
        self,
        batch: Batch,
        mechanisms: Mapping[tuple[int, str], Described],
        same: Mapping[str, Any],
        started: Mapping[int, str],
    ) -> None:
        others = batch.others
        own = [
            mechanisms.get((session, name)) if session in started else None
            for session, name in zip(batch.sessions, others["mechanism"], strict=True)
        ]
        for session, name, found in zip(batch.sessions, others["mechanism"], own, strict=True):
            if found is None:
                raise ValueError(f"mechanism {name!r}, which session {session} does not describe")
        of_cells: list[Described] = [found for found in own if found is not None]
        made = dict(others)
        made |= {name: [value] * len(of_cells) for name, value in same.items()}
        made |= {"session": [*batch.sessions], "started": [started[session] for session in batch.sessions]}
        made["id"] = batch.ids.tolist()
        for name in ("axis", "proposed", "formula_error"):
            made[name] = [getattr(found, name) for found in of_cells]
        made |= self._of_forms(others, of_cells) | self._of_members(others, of_cells)
        made["cause"] = [
            cause_of(reason, name) if reason else ""
            for reason, name in zip(others["reason"], others["input"], strict=True)
        ]
        for name, column in self.objects.items():
            if name in _TEXTS:  # of equal ones, one is kept
                column += [*map(self._same.setdefault, made[name], made[name])]
            else:
                column += made[name]
        for name, parts in self.reals.items():
            parts.append(batch.reals[name])
        self.described += of_cells

    def _of_forms(self, others: Mapping[str, list[Any]], own: Sequence[Described]) -> dict[str, list[Any]]:
        """Return what follows from a form and its options: these as text, both together, and the form's place."""
        read: dict[str, str] = {}
        variants: dict[tuple[str, str], str] = {}
        for form, text in {*zip(others["form"], others["options"], strict=True)}:
            options = decoded(text)
            read[text], variants[form, text] = options_text(options), variant_of(form, options)
        return {
            "options": [read[text] for text in others["options"]],
            "variant": [variants[pair] for pair in zip(others["form"], others["options"], strict=True)],
            "form_place": [found.form_place(form) for form, found in zip(others["form"], own, strict=True)],
        }

    def _of_members(self, others: Mapping[str, list[Any]], own: Sequence[Described]) -> dict[str, list[Any]]:
        """Return what follows from a member and its labels: its series, and its value on the axis."""
        found: dict[Any, tuple[str, Value | None]] = {}
        cells = list(zip(others["member"], others["labels"], (each.axis for each in own), strict=True))
        for member, labels, axis in dict.fromkeys(cells):
            found[member, labels, axis] = _series(member, axis), _along(member, decoded(labels), axis)
        return {"series": [found[cell][0] for cell in cells], "along": [found[cell][1] for cell in cells]}

    def _add_heads(self, heads: Heads, ids: Any, first: int) -> None:
        if ids is None:
            return
        own = np.isin(heads.cells, ids)
        cells = first + np.searchsorted(ids, heads.cells[own])
        names = [name for name, kept in zip(heads.names, own.tolist(), strict=True) if kept]
        columns = {name: values[own] for name, values in heads.columns.items()}
        self.head_parts.append(pd.DataFrame({"cell": cells, "head": pd.Series(names, dtype=object), **columns}))

    def frame(self) -> pd.DataFrame:
        """Return all cells, in the order in which they were read, with a column for each label of their members."""
        texts = self.objects["labels"]
        read = {text: decoded(text) for text in sorted({*texts})}
        labels: dict[str, list[Value | None]] = {}
        for label in dict.fromkeys(label for own in read.values() for label in own):
            labels[label_column(label)] = [read[text].get(label) for text in texts]
        ordered = sorted(labels, key=lambda column: _place_of(_FIRST_LABELS, column))
        columns = [*_CELL, *ordered, *(name for name in _RESULTS if name not in WIDE), *TIMINGS, *HIDDEN]
        made = {name: pd.Series(np.concatenate([np.empty(0), *parts])) for name, parts in self.reals.items()}
        made |= {name: pd.Series(values, dtype=object) for name, values in (self.objects | labels).items()}
        return pd.DataFrame({name: made[name] for name in columns})

    def heads(self, kept: pd.Index) -> pd.DataFrame:
        """Return the heads of the cells that were kept, in their order."""
        found = pd.concat(self.head_parts, ignore_index=True)[["cell", *HEAD]]
        places = pd.Series(range(len(kept)), index=kept)
        own = found[found["cell"].isin(kept)]
        return own.assign(cell=own["cell"].map(places)).sort_values("cell", kind="stable", ignore_index=True)


def _place_of(first: Sequence[str], name: str) -> int:
    return first.index(name) if name in first else len(first)


def nested(text: Any) -> Any:
    """Return what a cell's column of NESTED holds; an empty list where there is nothing."""
    return decoded(text) if isinstance(text, str) else []


def label_column(label: str) -> str:
    """Return the column of what tables show of a member: that name, unless another column has it."""
    return _PREFIX + label if label in _TAKEN or label.startswith(_PREFIX) else label


_TAKEN = {*_CELL, *_RESULTS, *NESTED, *TIMINGS, *HIDDEN, "labels", "place", "arithmetic_place", "key"}
_TAKEN |= {column.name for column in _COUNTS}


def labels_among(columns: Iterable[str], axes: Collection[str]) -> list[tuple[str, str]]:
    """Return what tables show of members, as (label, column), of columns that have something; an axis comes first."""
    labels = [(column.removeprefix(_PREFIX), column) for column in columns if column not in _TAKEN]
    return sorted(labels, key=lambda label: label[0] not in axes)


def _series(member: str, axis: str | None) -> str:
    """Return a member's name without the parameter that is the axis."""
    mechanism, _, given = member.partition(":")
    others = [pair for pair in given.split(",") if pair and pair.partition("=")[0] != axis]
    return f"{mechanism}:{','.join(others)}" if others else mechanism


def _along(member: str, labels: Mapping[str, Value], axis: str | None) -> Value | None:
    """Return the value on the axis, a number that a figure can show; ValueError if there is none."""
    if axis is None:
        return None
    value = labels.get(axis)
    if isinstance(value, str | bool | None) or not -(2**53) <= value <= 2**53:
        raise ValueError(f"{member!r} without a value of {axis!r}")
    return value
