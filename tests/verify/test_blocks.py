"""Blocks of rows: their size changes no record, a sample measures the rows it names, and what is kept comes back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cells import records_of
from verify.attention import Variant
from verify.attention.contract import Member
from verify.attention.strips import run_rows
from verify.errors import InvalidRequestError, TooLargeError, ViolatedBoundError
from verify.files.packing import packed, unpacked
from verify.inputs import FileInput
from verify.measure.background import Backdrop, Background
from verify.measure.cell import Cell, Outcome
from verify.measure.cell import outcome as measuring
from verify.measure.portion import Portion, block_bounds, measured_rows, portions
from verify.mechanisms import named_variant
from verify.numbers.arithmetic import ARITHMETICS, Arithmetic
from verify.problem import Problem
from verify.problem import rows as rows_of_problem
from verify.problem.selection import of_rows
from verify.sweep import Status
from verify.truth import reference

NAMES = ("softmax/softmax", "taylor:order=3/packed", "taylor:order=2/scores", "logexp/stream", "elu/pairs")
CELLS = tuple(Cell(named_variant(name), "float16+float32") for name in NAMES)


def written(path: Path, tokens: int) -> FileInput:
    """Write a causal problem of two query heads over one key head; some rows see nothing, some keys nobody sees."""
    rng = np.random.default_rng(16)
    q, k, v = (rng.standard_normal((heads, tokens, 2)) for heads in (2, 1, 1))
    np.savez(path, q=q, k=k, v=v)
    return FileInput((str(path),), causal=True)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of enclosures of 8 rows, and arrays over pairs of 256."""
    monkeypatch.setattr(rows_of_problem, "BLOCK_ROWS", 8)
    monkeypatch.setattr(rows_of_problem, "PAIRS", 256)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("sample", [None, 19])
def test_blocks_of_any_size_make_the_same_records(sample: int | None, tmp_path: Path) -> None:
    source = written(tmp_path / "a.npz", 29)
    rows = 29 if sample is None else sample
    assert [len(block_bounds(source.load(), rows, size)) for size in (1, 1 << 22)] == [-(-rows // 8), 1]
    small, whole = (records_of(source, *CELLS, sample=sample, block_pairs=size) for size in (1, 1 << 22))
    assert {record.status for record in whole} == {"ok"}
    assert [record.to_json() for record in small] == [record.to_json() for record in whole]


@pytest.mark.usefixtures("small_blocks")
def test_what_fails_on_one_block_costs_its_cell_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path / "a.npz", 29)
    whole = records_of(source, *CELLS, block_pairs=1)
    judged: list[tuple[str, int]] = []

    def outcome(variant: Variant, portion: Portion, *more: Any) -> Outcome:
        judged.append((variant.name, int(portion.rows[0])))
        if variant.form == "scores" and portion.rows[0] == 8:
            raise RuntimeError("planted")
        return measuring(variant, portion, *more)

    def background(self: Backdrop, member: Member, arithmetic: Arithmetic) -> Background:
        if member.of == "elu" and self.portion.rows[0] == 0:
            raise ViolatedBoundError("planted")
        return finding(self, member, arithmetic)

    finding = Backdrop.background
    monkeypatch.setattr("verify.sweep.tasks.outcome", outcome)
    monkeypatch.setattr(Backdrop, "background", background)
    found = records_of(source, *CELLS, block_pairs=1)
    statuses = {record.form: record.status for record in found if record.status != Status.OK}
    assert statuses == {"scores": Status.CRASHED, "pairs": Status.FAILED}
    assert [record for record in found if record.status == Status.OK] == [
        record for record in whole if record.form not in statuses
    ]
    places = [place for name, place in judged if name.startswith("taylor:order=2")]
    assert places == [0, 8]  # what is left of it is not done
    assert not [name for name, _ in judged if name.startswith("elu")]


def test_a_sample_measures_the_rows_it_names(tmp_path: Path) -> None:
    source, sample = written(tmp_path / "a.npz", 90), 12
    problem = source.load()
    rows = measured_rows(problem, sample)
    for record, cell in zip(records_of(source, *CELLS, sample=sample), CELLS, strict=True):
        assert (record.rows, record.measured_rows) == (2 * 90, 2 * 12)
        assert sum(head.rows for head in record.per_head) == 2 * 12
        value = cell.variant.run(problem, cell.arithmetic).value[..., rows, :].astype(np.float64)
        exact = reference(of_rows(problem, rows.tolist()), 33)
        error = value - exact.value - exact.residual
        assert record.errors["total"].max == pytest.approx(np.abs(error).max(), rel=1e-6)
        assert record.errors["total"].rms == pytest.approx(np.sqrt(np.square(error).mean()), rel=1e-6)
        positions = [span[:2] for span in record.output_rows.by_position] if record.output_rows else []
        assert all(((rows >= first) & (rows <= last)).any() for first, last in positions)
        assert positions[-1] == (64, 89)


def test_a_sample_is_spread_over_positions_and_the_same_each_time() -> None:
    tokens = np.zeros((1000, 1))
    problem = Problem(tokens, tokens, tokens)
    rows = measured_rows(problem, 30)
    edges = [1000 * place // 30 for place in range(31)]
    assert all(first <= row < last for first, row, last in zip(edges, rows, edges[1:], strict=False))
    assert len(set((np.diff(rows) - 33).tolist())) > 5  # drawn, not one step after another
    np.testing.assert_array_equal(measured_rows(problem, 30), rows)
    np.testing.assert_array_equal(measured_rows(problem, 1000), np.arange(1000))
    for sample, message in ((0, "rows 0"), (1001, "1001 rows of problem, which has 1000")):
        with pytest.raises(InvalidRequestError, match=message):
            measured_rows(problem, sample)


def test_portions_are_all_rows_once() -> None:
    tokens = np.zeros((700, 1))
    problem = Problem(tokens, tokens, tokens)
    found = [portion.rows for portion in portions(problem, measured_rows(problem, None), 1)]
    assert [len(rows) for rows in found] == [256, 256, 188]
    np.testing.assert_array_equal(np.concatenate(found), np.arange(700))


@pytest.mark.parametrize(
    "name", ["softmax/softmax", "logexp/quadratic", "taylor:order=3/dense", "taylor:order=3/packed"]
)
def test_rows_that_are_run_by_themselves_are_those_of_the_whole(name: str, tmp_path: Path) -> None:
    problem, variant = written(tmp_path / "a.npz", 40).load(), named_variant(name)
    rows, arithmetic = [0, 7, 8, 31, 39], ARITHMETICS["float64"]
    found, whole = run_rows(variant, problem, rows, arithmetic), variant.run(problem, arithmetic)
    # the same sums, perhaps in another order: 40 terms and some roundings of weights of order one
    np.testing.assert_allclose(found.value, whole.value[..., rows, :], rtol=1e-12, atol=1e-12)
    assert (found.seconds is None) == variant.how.by_row  # five rows take less than all
    assert run_rows(variant, problem, range(40), arithmetic).seconds is not None


def test_a_form_that_is_refused_on_all_rows_is_refused_on_some() -> None:
    tokens = np.ones((4, 6))
    with pytest.raises(TooLargeError):
        run_rows(
            *(named_variant("taylor:order=3/dense"), Problem(tokens, tokens, tokens), [1], ARITHMETICS["float64"]),
            memory_limit=1,
        )


@dataclass(frozen=True)
class Inner:
    name: str
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class Outer:
    inner: tuple[Inner, ...]
    by_name: dict[str, float]
    nothing: Inner | None


def test_what_is_packed_comes_back() -> None:
    values = np.array([[1.0, -0.0], [np.inf, np.nan]])
    packed_up = packed(Outer((Inner("a", values), Inner("b", values[:0])), {"x": np.inf, "y": 0.1}, None))
    found = unpacked(Outer, packed_up)
    assert [inner.name for inner in found.inner] == ["a", "b"]
    assert found.inner[0].values.tobytes() == values.tobytes()
    assert found.inner[1].values.shape == (0, 2)
    assert (found.by_name, found.nothing) == ({"x": np.inf, "y": 0.1}, None)
    for broken in (b"", b"x", packed_up[:-40], packed_up[40:], packed(Inner("a", values)), packed({"a": 1})):
        with pytest.raises(ValueError, match=r"."):
            unpacked(Outer, broken)
