"""Run files to data frames: a row per cell, a row per cell and head, a column per number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports.cells import HIDDEN, Cells
from reports.described import Described
from reports.places import Places
from reports.text import measured_text
from verify.errors import InvalidRequestError
from verify.families.costs import FeatureCost
from verify.numbers.arithmetic import ARITHMETICS
from verify.sweep.portrait import Portrait
from verify.sweep.store import RunFile, Session, damaged

# What a cell is about; of two cells about the same (measured by different versions of the code) the later one is shown.
IDENTITY = ["input", "digest", "mechanism", "member", "form", "options", "arithmetic", "measured_rows"]
_PLACES = {"file": 0, "sample": 1, "synthetic": 2}  # one's own inputs first, then real ones


@dataclass(frozen=True)
class Runs:
    """What one or more run files hold.

    Of a cell the frame has, beside what its record says: label, its input's name, told apart from others of that name
    by its digest, and with the rows that were measured if these are a sample; options as text; variant, the form with
    its options; a column for each label of its member; axis and along, the parameter along which curves are drawn, and
    its value; series, the mechanism with its other parameters, so that cells of one series lie along one curve;
    proposed and formula_error, as the mechanism describes itself; seconds, that computing its output took. heads: a row
    for each head of a measured cell, which is `cell`, a place in the frame. mechanisms: by name. portraits: what is
    known of members without any input, by name. counts: what features cost, by mechanism and size. superseded: cells
    left out because a later session measured the same again. missing: cells that a sweep was asked for and that are not
    there. places: where the cells of the frame stand, and what of them is not in it.
    """

    frame: pd.DataFrame
    heads: pd.DataFrame
    mechanisms: Mapping[str, Described]
    portraits: Mapping[str, Portrait]
    counts: Sequence[FeatureCost]
    sessions: Sequence[tuple[str, Session]]
    superseded: int
    missing: int
    places: Places


def load_runs(paths: Sequence[Path]) -> Runs:
    """Read run files; InvalidRequestError if one cannot be read, none holds a cell, or two do not fit together."""
    sessions: list[tuple[str, Session]] = []
    portraits: dict[str, Portrait] = {}
    files = list({path.resolve(): path for path in paths}.values())
    cells = Cells()
    for path in files:
        with RunFile(path) as run:
            sessions.extend((path.name, session) for session in run.sessions())
            portraits |= run.portraits()
            try:
                cells.read(run)
            except ValueError as error:
                raise damaged(path, error) from error
    sessions.sort(key=lambda item: item[1].started)
    if not cells.described:
        raise InvalidRequestError(
            f"no cells in {', '.join(map(str, paths))}", "at least one finished cell", "run the sweep first"
        )
    frame = cells.frame()
    # what cells are put in order by: to move all other columns once is enough
    keys = frame[[name for name in frame if name in (*IDENTITY, *_ORDER, "started", "kind")]]
    # files may come in any order; the sort keeps that of sessions
    latest = keys.sort_values("started", kind="stable").drop_duplicates(IDENTITY, keep="last")
    arithmetics = {name: place for place, name in enumerate(ARITHMETICS)}
    places = {"place": latest["kind"].map(_PLACES), "arithmetic_place": latest["arithmetic"].map(arithmetics)}
    ranked = latest.assign(**places).sort_values(_ORDER).index
    ordered = frame.loc[ranked].reset_index(drop=True)
    shown = ordered.drop(columns=[*HIDDEN])
    return Runs(
        frame=shown.assign(label=_told_apart(shown)),
        heads=cells.heads(ranked),
        mechanisms=_mechanisms([cells.described[row] for row in latest.index]),
        portraits=portraits,
        counts=sorted(cells.counts, key=_cost_order),
        sessions=sessions,
        superseded=len(frame) - len(latest),
        missing=_missing(shown, sessions),
        places=Places(files, ordered[["file", "id"]].astype(np.int64)),
    )


_ORDER = ["place", "head_size", "input", "digest", "measured_rows", "mechanism", "form_place", "form", "options"]
_ORDER += ["arithmetic_place", "arithmetic", "series", "along", "member"]


def _cost_order(cost: FeatureCost) -> tuple[str, int, int, int, str]:
    return cost.mechanism, cost.head_size, cost.value_size, cost.features, cost.member


def _told_apart(cells: pd.DataFrame) -> pd.Series:
    """Return the names of inputs, and what more has to be said of them.

    The start of the digest, where two inputs of one name hold different things, and of how many rows errors are, where
    these are a sample.
    """
    several = cells.groupby("input")["digest"].transform("nunique") > 1
    names = cells["input"].where(~several, cells["input"] + " (digest " + cells["digest"].str[:8] + ")")
    counts = cells[["measured_rows", "rows"]].drop_duplicates()
    said = {pair: f" ({measured_text(*pair)} rows)" for pair in counts.itertuples(index=False, name=None)}
    suffixes = [said[pair] for pair in zip(cells["measured_rows"], cells["rows"], strict=True)]
    return names.where(cells["measured_rows"] == cells["rows"], names + suffixes)


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
