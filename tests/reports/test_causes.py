"""Tables of causes: what they show is what the records hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reports.causes import bound_table, crossing_table, hazard_table, worsening_table
from reports.frame import load_runs
from reports.text import error_text
from verify.inputs import SyntheticInput
from verify.parallel.executors import InProcessExecutor
from verify.sweep import RunFile, SweepSpec, run_sweep


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A run in which order 5 is worse than order 4, and truncation falls below softmax's rounding in bfloat16 only."""
    path = tmp_path_factory.mktemp("runs") / "causes.sqlite"
    spec = SweepSpec(
        (SyntheticInput("normal", 8, 48, logit_std=4.0), SyntheticInput("normal", 8, 48, logit_std=0.25)),
        (("softmax", "softmax"), ("taylor", "scores"), ("taylor", "packed")),
        (0, 1, 2, 3, 4, 5),
        ("float32", "bfloat16+float32"),
    )
    run_sweep(spec, lambda: RunFile(path, write=True), InProcessExecutor, started="now", command="x")
    return load_runs([path]).frame


def rows(table: Any) -> list[dict[str, str]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def cell(frame: pd.DataFrame, name: str, arithmetic: str, order: int) -> Any:
    chosen = frame[(frame["input"] == name) & (frame["arithmetic"] == arithmetic) & (frame["form"] == "scores")]
    return chosen[chosen["order"] == order].iloc[0]


def test_crossings_are_the_first_order_below_softmax(frame: pd.DataFrame) -> None:
    found = rows(crossing_table(frame))
    assert len(found) == 4
    crossings = set()
    for row in found:
        cells = [cell(frame, row["input"], row["arithmetic"], order) for order in range(6)]
        soft = float(cells[0]["softmax_rounding"])
        below = [c["order"] for c in cells if c["truncation_relative"] < soft]
        assert row["falls below it at order"] == (str(below[0]) if below else "never up to 5")
        crossings.add(bool(below))
        assert row["softmax's own rounding"] == error_text(soft)
        for order, c in enumerate(cells):
            shown = f"{error_text(c['truncation_relative'])} / {error_text(c['rounding_relative'])}"
            assert row[f"{order}: truncation / rounding"] == shown
    assert crossings == {True, False}


def test_softmax_rounding_is_that_of_the_softmax_cell(frame: pd.DataFrame) -> None:
    for _, softmax in frame[frame["mechanism"] == "softmax"].iterrows():
        alike = frame[(frame["input"] == softmax["input"]) & (frame["arithmetic"] == softmax["arithmetic"])]
        assert alike["softmax_rounding"].tolist() == pytest.approx([softmax["rounding_relative"]] * len(alike))


def test_more_terms_that_hurt_are_listed_with_the_reason(frame: pd.DataFrame) -> None:
    found = rows(worsening_table(frame))
    steps = {(row["input"], row["arithmetic"], row["orders"]) for row in found}
    for name in frame["input"].unique():
        for arithmetic in ("float32", "bfloat16+float32"):
            for order in range(5):
                before, after = (cell(frame, name, arithmetic, p) for p in (order, order + 1))
                worse = after["total_relative"] > before["total_relative"]
                assert ((name, arithmetic, f"{order} to {order + 1}") in steps) == worse
    wide = [row for row in found if "std=4" in row["input"] and row["orders"] == "4 to 5"]
    assert wide
    for row in wide:
        assert row["why"].startswith("order 5: negative weights far below 0")
        assert row["negative weights"].startswith("0 to ")
        assert row["negative weights"].endswith(" %")
        before, after = (cell(frame, row["input"], row["arithmetic"], order) for order in (4, 5))
        assert row["total error"] == f"{error_text(before['total_relative'])} to {error_text(after['total_relative'])}"


def test_hazards_and_bounds_are_those_of_the_records(frame: pd.DataFrame) -> None:
    for name, cells in frame.groupby("input"):
        for row in rows(hazard_table(cells)):
            own = cell(frame, str(name), "float32", int(row["order"]))
            assert row["total variation, mean"] == error_text(own["total_variation_mean"])
            assert row["tiny Z"] == f"{own['tiny_rows']:,} of {own['rows']:,}"
        shown = rows(bound_table(cells))
        assert len(shown) == len(cells[cells["status"] == "ok"])
        for row, (_, own) in zip(shown, cells.iterrows(), strict=True):
            assert row["rounding"] == error_text(own["rounding_relative"])
            assert float(row["share"]) <= 1.0
            assert row["lost additions"] == str(own["lost_additions"])


def test_an_error_above_its_bound_is_a_failed_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from verify.bounds import RoundingBound, rounding_bound
    from verify.sweep import task as module

    right = rounding_bound

    def small(*arguments: Any) -> RoundingBound:
        bound = right(*arguments)
        return RoundingBound(bound.sure / 1e6, bound.probable)

    def statuses(name: str) -> list[tuple[str, str]]:
        spec = SweepSpec((SyntheticInput("normal", 4, 8),), (("taylor", "scores"),), (1,), ("float32",))
        path = tmp_path / f"{name}.sqlite"
        run_sweep(spec, lambda: RunFile(path, write=True), InProcessExecutor, started="now", command="x")
        with RunFile(path) as run:
            return [(str(record.status), record.reason) for _, record in run.records()]

    assert statuses("right") == [("ok", "")]
    monkeypatch.setattr(module, "rounding_bound", small)
    ((status, reason),) = statuses("small")
    assert status == "failed"
    assert reason.startswith("rounding is ")
    assert reason.endswith(" times its bound")
    monkeypatch.setattr(module, "rounding_bound", right)
    monkeypatch.setattr(module, "truncation_bound", lambda problem, order: np.zeros(problem.output_shape))
    ((status, reason),) = statuses("zero")
    assert (status, reason) == ("failed", "truncation is inf times its bound")
