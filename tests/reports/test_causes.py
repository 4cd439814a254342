"""Tables of causes: what they show is what the records hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reports.causes import bound_table, crossing_tables, hazard_table, worsening_tables
from reports.frame import load_runs
from reports.text import error_text
from tests.reports.running import rows, swept
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


def test_crossings_are_the_first_order_below_softmax(frame: pd.DataFrame) -> None:
    (taylor,) = crossing_tables(frame)
    assert (taylor.mechanism, taylor.axis, taylor.formula_error) == ("taylor", "order", "truncation")
    found = rows(taylor.table)
    assert len(found) == 4
    crossings = set()
    for row in found:
        cells = [cell(frame, row["input"], row["arithmetic"], order) for order in range(6)]
        soft = float(cells[0]["softmax_rounding"])
        below = [c["order"] for c in cells if c["formula_relative"] < soft]
        assert row["falls below it at order"] == (str(below[0]) if below else "never up to 5")
        crossings.add(bool(below))
        assert row["softmax's own rounding"] == error_text(soft)
        for order, c in enumerate(cells):
            shown = f"{error_text(c['formula_relative'])} / {error_text(c['rounding_relative'])}"
            assert row[f"{order}: truncation / rounding"] == shown
    assert crossings == {True, False}


def test_softmax_rounding_is_that_of_the_softmax_cell(frame: pd.DataFrame) -> None:
    for _, softmax in frame[frame["mechanism"] == "softmax"].iterrows():
        alike = frame[(frame["input"] == softmax["input"]) & (frame["arithmetic"] == softmax["arithmetic"])]
        assert alike["softmax_rounding"].tolist() == pytest.approx([softmax["rounding_relative"]] * len(alike))


def test_more_terms_that_hurt_are_listed_with_the_reason(frame: pd.DataFrame) -> None:
    (taylor,) = worsening_tables(frame)
    found = rows(taylor.table)
    steps = {(row["input"], row["arithmetic"], row["order"]) for row in found}
    for name in frame["input"].unique():
        for arithmetic in ("float32", "bfloat16+float32"):
            for order in range(5):
                before, after = (cell(frame, name, arithmetic, p) for p in (order, order + 1))
                worse = after["total_relative"] > before["total_relative"]
                assert ((name, arithmetic, f"{order} to {order + 1}") in steps) == worse
    wide = [row for row in found if "std=4" in row["input"] and row["order"] == "4 to 5"]
    assert wide
    for row in wide:
        assert row["why"].startswith("order 5: negative weights far below 0")
        assert row["negative weights"].startswith("0 to ")
        assert row["negative weights"].endswith(" %")
        before, after = (cell(frame, row["input"], row["arithmetic"], order) for order in (4, 5))
        assert row["total error"] == f"{error_text(before['total_relative'])} to {error_text(after['total_relative'])}"


def test_hazards_and_bounds_are_those_of_the_records(frame: pd.DataFrame) -> None:
    for name, cells in frame.groupby("input"):
        assert [row["order"] for row in rows(hazard_table(cells[cells["axis"].notna()]))] == list("012345")
        for row in rows(hazard_table(cells[cells["axis"].notna()])):
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
