"""Tables of hazards, of what a formula is up against, and of what made it worse: they show what the records hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reports.crossing import crossing_table, crossing_text
from reports.curves import leading_curves, measured, with_axis
from reports.frame import load_runs
from reports.hazards import bound_table, hazard_table, run_table
from reports.text import error_text, percent_text
from reports.worsening import COLUMNS, steps, worsening_table, worsening_text
from tests.reports.running import cells_of, rows, swept
from verify.inputs import SyntheticInput
from verify.mechanisms.registry import known
from verify.sweep import RunFile


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A run in which order 5 is worse than order 4, and truncation falls below softmax's rounding in bfloat16 only."""
    path = tmp_path_factory.mktemp("runs") / "causes.sqlite"
    swept(
        path,
        ["softmax/softmax", "taylor/scores", "taylor/packed"],
        inputs=(SyntheticInput("normal", 8, 48, logit_std=4.0), SyntheticInput("normal", 8, 48, logit_std=0.25)),
        orders=range(6),
        arithmetics=("float32", "bfloat16+float32"),
    )
    return load_runs([path]).frame


def cell(frame: pd.DataFrame, name: str, arithmetic: str, order: int) -> Any:
    chosen = frame[(frame["input"] == name) & (frame["arithmetic"] == arithmetic) & (frame["form"] == "scores")]
    return chosen[chosen["order"] == order].iloc[0]


def curves(frame: pd.DataFrame) -> list[Any]:
    return leading_curves(frame, [*COLUMNS, "softmax_rounding"])


def test_crossings_are_the_first_order_below_softmax(frame: pd.DataFrame) -> None:
    found = rows(crossing_table(curves(frame)))
    assert [row["mechanism"] for row in found] == ["taylor"] * 2
    crossings = set()
    for row in found:
        for arithmetic in ("float32", "bfloat16+float32"):
            cells = [cell(frame, row["input"], arithmetic, order) for order in range(6)]
            soft = float(cells[0]["softmax_rounding"])
            below = [c["order"] for c in cells if c["formula_relative"] < soft]
            expected = f"order {below[0]}" if below else "not up to order 5"
            assert row[f"{arithmetic}: formula below it"] == expected
            assert row[f"{arithmetic}: softmax's own"] == percent_text(soft)
            crossings.add(bool(below))
    assert crossings == {True, False}
    text = "truncation below softmax's own rounding in bfloat16+float32: on 1 of 2 inputs"
    assert crossing_text(curves(frame), "bfloat16+float32") == text


def test_a_rounding_that_is_infinite_is_nothing_to_be_below(frame: pd.DataFrame) -> None:
    spoilt = frame.assign(softmax_rounding=np.inf)
    assert all(row["float32: formula below it"] == "not up to order 5" for row in rows(crossing_table(curves(spoilt))))


def test_softmax_rounding_is_that_of_the_softmax_cell(frame: pd.DataFrame) -> None:
    for _, softmax in frame[frame["mechanism"] == "softmax"].iterrows():
        alike = frame[(frame["input"] == softmax["input"]) & (frame["arithmetic"] == softmax["arithmetic"])]
        assert alike["softmax_rounding"].tolist() == pytest.approx([softmax["rounding_relative"]] * len(alike))


def test_more_terms_that_hurt_are_grouped_by_their_cause(frame: pd.DataFrame) -> None:
    found = steps(curves(frame))
    listed = {(step.label, step.arithmetic, step.values) for step in found}
    for name in frame["input"].unique():
        for arithmetic in ("float32", "bfloat16+float32"):
            for order in range(5):
                before, after = (cell(frame, name, arithmetic, p) for p in (order, order + 1))
                worse = after["total_relative"] > before["total_relative"]
                assert ((name, arithmetic, f"{order} to {order + 1}") in listed) == worse
    wide = [step for step in found if "std=4" in step.label and step.values == "4 to 5"]
    assert {step.cause for step in wide} == {"truncation: negative weights, and sums of weights Z <= 0"}
    table = rows(worsening_table(found))
    row = next(row for row in table if row["cause"] == wide[0].cause)
    assert "4 to 5" in row["steps along the axis"]
    assert row["arithmetics"] == "float32, bfloat16+float32"
    same = [step for step in found if step.cause == wide[0].cause]
    worst = max(same, key=lambda step: step.after["total_relative"] / step.before["total_relative"])
    assert percent_text(worst.after["total_relative"]) in row["worst"]
    merged = {(step.label, step.values) for step in found}
    assert worsening_text(found, 2).startswith(f"Where more made it worse: {len(merged)} steps on ")
    assert worsening_text([], 2) == "More never made it worse"


def test_hazards_and_bounds_are_those_of_the_records(frame: pd.DataFrame) -> None:
    for name, group in frame.groupby("input"):
        cells = cells_of(group)
        assert [row["order"] for row in rows(hazard_table(with_axis(cells)))] == list("012345")
        for row in rows(hazard_table(with_axis(cells))):
            own = cell(frame, str(name), "float32", int(row["order"]))
            assert row["total variation, mean"] == error_text(own["total_variation_mean"])
            assert row.get("tiny Z", "0 of 48") == f"{own['tiny_rows']:,} of {own['rows']:,}"
        shown = rows(bound_table(cells))
        assert len(shown) == len(measured(cells))
        for row, own in zip(shown, cells, strict=True):
            assert row["rounding"] == error_text(own["rounding_relative"])
            assert float(row["share"]) <= 1.0
            assert row.get("lost additions", "0") == str(own["lost_additions"])


def test_hazards_of_a_run_are_added_up(frame: pd.DataFrame) -> None:
    for row in rows(run_table(frame)):
        chosen = frame[(frame["mechanism"] == row["mechanism"]) & (frame["variant"] == row["form"])]
        own = chosen[chosen["arithmetic"] == row["arithmetic"]]
        assert row["cells"] == str(len(own))
        assert row["rows with Z <= 0"] == f"{own['nonpositive_exact'].sum():,}"
        assert float(row["rounding / bound"]) == pytest.approx(own["rounding_bound_share"].max(), rel=0.1)
    columns = run_table(frame).columns
    assert "nonfinite state" not in columns  # nothing of the kind: cells.csv says so


def test_an_error_above_its_bound_is_a_failed_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from verify.attention import variant
    from verify.bounds.outputs import RoundingBound, rounding_bound

    def small(*arguments: Any) -> RoundingBound:
        bound = rounding_bound(*arguments)
        return RoundingBound(bound.sure / 1e6, bound.probable)

    def statuses(name: str) -> list[tuple[str, str]]:
        path = swept(tmp_path / f"{name}.sqlite", ["taylor/scores"], orders=(1,), arithmetics=("float32",))
        with RunFile(path) as run:
            return [(str(record.status), record.reason) for _, record, _ in run.records()]

    assert statuses("right") == [("ok", "")]
    monkeypatch.setattr(variant, "rounding_bound", small)
    ((status, reason),) = statuses("small")
    assert status == "failed"
    assert reason.startswith("the error of rounding is ")
    assert reason.endswith(" times its bound")
    monkeypatch.setattr(variant, "rounding_bound", rounding_bound)
    taylor = type(known().mechanism("taylor"))
    monkeypatch.setattr(taylor, "formula_bound", lambda self, problem, member: np.zeros(problem.output_shape))
    ((status, reason),) = statuses("zero")
    assert (status, reason) == ("failed", "the error of formula is inf times its bound")
