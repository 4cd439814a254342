"""Sweeps: what is measured, what is found again, and what a dying worker or a wrong input leaves behind."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import SMALL_SPEC
from tests.sweeps import plans, records, run
from verify.errors import InvalidRequestError
from verify.inputs import FileInput, InputSource, SyntheticInput
from verify.mechanisms import known
from verify.parallel.executors import InProcessExecutor, worker_pool
from verify.problem import Problem
from verify.sweep import Limits, SweepSpec
from verify.sweep.runner import QUEUE
from verify.sweep.tasks import Task, done
from verify.truth import enclosure


def test_every_cell_is_there_and_adds_up(small_run: Path) -> None:
    found = records(small_run)
    assert len(found) == 2 * 2 * (1 + 1 + 2 * 3)
    assert {record["status"] for record in found} == {"ok"}
    for record in found:
        assert record["digits"] >= 33
        assert record["errors"]["quantisation"]["max"] == 0  # float32 inputs
        if record["mechanism"] == "taylor":
            order = record["labels"]["order"]
            assert record["labels"]["terms"] == order + 1
            assert record["member"] == f"taylor:order={order}"
            if order == 0:
                # its truncation is the null prediction's error; rounding moves the skill by parts in 10^7 at most
                assert abs(record["skill"]) < 1e-6
        total, rounding = (record["errors"][name]["rms"] for name in ("total", "rounding"))
        inherent = record["errors"].get("formula", {"rms": 0})["rms"]
        assert inherent - rounding <= total * (1 + 1e-12)
        assert total <= (inherent + rounding) * (1 + 1e-12)


def test_running_again_computes_nothing_and_running_elsewhere_gives_the_same(small_run: Path, tmp_path: Path) -> None:
    before = small_run.read_bytes()
    again = run(SMALL_SPEC, small_run)
    assert (again.measured, again.reused, again.cells) == (0, 32, 32)
    assert small_run.read_bytes() == before
    fresh = run(SMALL_SPEC, tmp_path / "elsewhere.sqlite")
    assert (fresh.measured, fresh.reused) == (32, 0)
    assert records(tmp_path / "elsewhere.sqlite") == records(small_run)


def test_processes_give_the_same_and_only_the_missing_is_measured(small_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    run(dataclasses.replace(SMALL_SPEC, orders=(1,)), path)
    told: list[tuple[int, int, str]] = []
    rest = run(SMALL_SPEC, path, lambda: worker_pool(2), progress=lambda *news: told.append(news))
    assert (rest.measured, rest.reused) == (16, 16)
    assert sorted(records(path), key=json.dumps) == sorted(records(small_run), key=json.dumps)
    assert [news[:2] for news in told] == [(cells, 16) for cells in range(17)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.sqlite"]  # one file, no journal left


def test_equal_contents_under_two_names_are_two_inputs(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, q=np.ones((2, 3)), k=np.ones((2, 3)), v=np.ones((2, 3)))
    inputs = tuple(FileInput((str(tmp_path / name),)) for name in ("a.npz", "b.npz"))
    summary = run(dataclasses.replace(SMALL_SPEC, inputs=inputs, orders=(1,)), tmp_path / "run.sqlite")
    found = records(tmp_path / "run.sqlite")
    assert summary.cells == summary.measured == len(found) == 16
    assert {record["input"] for record in found} == {source.name for source in inputs}


def test_quantisation_is_told_from_rounding(tmp_path: Path) -> None:
    rng = np.random.default_rng(15)
    q, k, v = rng.standard_normal((3, 8, 4))
    np.savez(tmp_path / "wide.npz", q=q, k=k, v=v)
    spec = dataclasses.replace(SMALL_SPEC, inputs=(FileInput((str(tmp_path / "wide.npz"),)),), orders=(2,))
    run(spec, tmp_path / "run.sqlite")
    narrow = [record for record in records(tmp_path / "run.sqlite") if record["arithmetic"] == "float32"]
    wide = [record for record in records(tmp_path / "run.sqlite") if record["arithmetic"] == "float64"]
    assert all(record["errors"]["quantisation"]["max"] == 0 for record in wide)
    # inputs of size about 1 move by up to 2**-25 each, and outputs by a few times that
    assert all(2.0**-30 < record["errors"]["quantisation"]["max"] < 2.0**-18 for record in narrow)
    for record in narrow:
        errors = {name: record["errors"][name]["rms"] for name in record["errors"]}
        assert errors["total"] <= sum(errors.values()) - errors["total"] + 1e-15


def test_refusals_are_records_with_a_reason(tmp_path: Path) -> None:
    np.savez(tmp_path / "huge.npz", q=np.full((2, 3), 1e39), k=np.zeros((2, 3)), v=np.ones((2, 3)))
    np.savez(tmp_path / "mask.npz", q=np.ones((2, 3)), k=np.ones((2, 3)), v=np.ones((2, 3)), mask=np.eye(2, dtype=bool))
    inputs = tuple(FileInput((str(tmp_path / name),)) for name in ("huge.npz", "mask.npz"))
    summary = run(dataclasses.replace(SMALL_SPEC, inputs=inputs, orders=(1,)), tmp_path / "run.sqlite")
    assert summary.by_status == {"ok": 10, "refused": 6, "failed": 0, "crashed": 0}
    reasons = {record["reason"] for record in records(tmp_path / "run.sqlite") if record["status"] == "refused"}
    assert any("overflows float32" in reason for reason in reasons)
    assert any("use the form scores" in reason for reason in reasons)
    again = run(dataclasses.replace(SMALL_SPEC, inputs=inputs, orders=(1,)), tmp_path / "run.sqlite")
    assert (again.measured, again.reused, again.by_status) == (0, 16, summary.by_status)


def test_weights_that_cancel_are_an_infinite_error_and_counted(tmp_path: Path) -> None:
    np.savez(tmp_path / "zero.npz", q=np.ones((1, 1)), k=-np.ones((1, 1)), v=np.ones((1, 1)))
    spec = dataclasses.replace(SMALL_SPEC, inputs=(FileInput((str(tmp_path / "zero.npz"),), scale=1.0),), orders=(1,))
    run(spec, tmp_path / "run.sqlite")
    taylor = [record for record in records(tmp_path / "run.sqlite") if record["mechanism"] == "taylor"]
    assert taylor
    for record in taylor:
        assert record["errors"]["formula"]["max"] == record["errors"]["total"]["relative"] == "inf"
        assert (record["nonpositive_exact"], record["hazards"]["nonpositive_rows"], record["rows"]) == (1, 1, 1)
        assert record["hazards"]["nonfinite_elements"] == 1


def test_a_value_that_cannot_be_certified_fails_its_cells_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Z of order 3 is about 1e-17 here: it costs 56 of the 140 bits, and 33 digits need 111; nothing else loses any
    monkeypatch.setattr(enclosure, "MAX_BITS", 140)
    root = -1.596071637983321523112855  # of 1 + s + s^2/2 + s^3/6
    np.savez(tmp_path / "near.npz", q=[[root], [2.0]], k=[[1.0], [0.5]], v=[[1 / 3], [1.0]])
    source = FileInput((str(tmp_path / "near.npz"),), scale=1.0, causal=True)
    summary = run(dataclasses.replace(SMALL_SPEC, inputs=(source,), orders=(2, 3)), tmp_path / "run.sqlite")
    assert summary.by_status == {"ok": 8, "refused": 0, "failed": 4, "crashed": 0}
    for record in records(tmp_path / "run.sqlite"):
        order = record["labels"].get("order")
        assert (record["status"] == "failed") == (order == 3)
        assert "certified digits of 33" in record["reason"] or order != 3


@dataclass(frozen=True)
class DeadlyInput:
    """Kills the worker that loads it, as an abort inside a library does; harmless in the parent."""

    parent: int
    name: str = "deadly"
    kind: str = "synthetic"
    logit_std: float | None = None

    def load(self) -> Problem:
        if os.getpid() != self.parent:
            os.abort()
        return Problem([[1.0]], [[1.0]], [[1.0]])


@dataclass(frozen=True)
class BrokenInput(DeadlyInput):
    """Raises in the worker what nobody expected."""

    name: str = "broken"

    def load(self) -> Problem:
        if os.getpid() != self.parent:
            raise RuntimeError("planted")
        return Problem([[2.0]], [[1.0]], [[1.0]])


@dataclass(frozen=True)
class VanishingInput(DeadlyInput):
    """Can be loaded once."""

    name: str = "vanishing"

    def load(self) -> Problem:
        if os.getpid() != self.parent:
            raise InvalidRequestError("no file x", "an existing file", "check the path")
        return Problem([[3.0]], [[1.0]], [[1.0]])


def test_a_dead_worker_is_a_crashed_cell_and_not_a_lost_run(tmp_path: Path) -> None:
    here = os.getpid()
    pools = 0

    def counted() -> Executor:
        nonlocal pools
        pools += 1
        return worker_pool(2)

    small = tuple(SyntheticInput("normal", 2, 3, seed=seed) for seed in range(12))
    inputs: tuple[InputSource, ...] = (DeadlyInput(here), BrokenInput(here), VanishingInput(here), *small)
    spec = SweepSpec(inputs, plans("softmax/softmax"), (), ("float64",))
    summary = run(spec, tmp_path / "run.sqlite", counted)
    assert summary.by_status == {"ok": 12, "refused": 0, "failed": 0, "crashed": 3}
    crashed = {r["input"]: r["reason"] for r in records(tmp_path / "run.sqlite") if r["status"] == "crashed"}
    assert "died" in crashed["deadly"]
    assert crashed["broken"] == "RuntimeError: planted"
    assert crashed["vanishing"].startswith("InvalidRequestError: no file x")
    assert pools <= 2 + QUEUE  # one, one for each suspect, and one for the rest
    again = run(spec, tmp_path / "run.sqlite")  # in this process they are harmless
    assert (again.measured, again.by_status["ok"]) == (3, 15)


def test_giving_up_ends_the_workers_of_the_sweep_and_nobody_else(tmp_path: Path) -> None:
    bystander = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    bystander.start()

    def failing(done: int, total: int, last: str) -> None:
        if done:
            raise RuntimeError("planted")

    inputs = tuple(SyntheticInput("normal", 2, 3, seed=seed) for seed in range(4))
    spec = SweepSpec((*inputs, SyntheticInput("normal", 4, 600)), SMALL_SPEC.plans, (7,), ("float64",))
    try:
        with pytest.raises(RuntimeError, match="planted"):
            run(spec, tmp_path / "run.sqlite", lambda: worker_pool(2), progress=failing)
        assert bystander.is_alive()
        deadline = time.monotonic() + 20
        while multiprocessing.active_children() != [bystander] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert multiprocessing.active_children() == [bystander]
    finally:
        bystander.terminate()
        bystander.join()


class InterruptedExecutor(InProcessExecutor):
    """Is interrupted at a piece of work."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().submit(fn, *args, **kwargs)


def test_a_sweep_interrupted_at_any_piece_keeps_all_but_that(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # of each input: a look at its cells, a survey, a study of each mechanism, and the cells
    path, kept = tmp_path / "run.sqlite", []
    times: Counter[tuple[Any, ...]] = Counter()

    def counted(task: Task) -> Any:
        times[type(task), task.subject, getattr(task, "cell", None), getattr(task, "asked", None)] += 1
        return done(task)

    monkeypatch.setattr("verify.sweep.runner.done", counted)
    for pieces in (1, 2, 3, 1, 4, 5, 6, 7):
        with pytest.raises(KeyboardInterrupt):
            run(SMALL_SPEC, path, partial(InterruptedExecutor, pieces))
        kept.append(len(records(path)))
    assert kept == sorted(kept)
    assert 0 < kept[3] < kept[-1] < 32
    rest = run(SMALL_SPEC, path)
    assert (rest.reused, rest.measured) == (kept[-1], 32 - kept[-1])
    assert sorted(records(path), key=json.dumps) == sorted(records(small_run), key=json.dumps)
    # nothing that was found out was found out again, but what is seen at a glance
    assert {kind.__name__ for (kind, *_), count in times.items() if count > 1} == {"Look"}


def test_a_wrong_request_writes_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "nan.npz", q=np.full((2, 3), np.nan), k=np.ones((2, 3)), v=np.ones((2, 3)))
    np.savez(
        tmp_path / "none.npz", q=np.ones((2, 3)), k=np.ones((2, 3)), v=np.ones((2, 3)), mask=np.zeros((2, 2), bool)
    )
    for name, message in (("nan.npz", "NaN or infinite"), ("none.npz", "no query attends")):
        bad = dataclasses.replace(SMALL_SPEC, inputs=(FileInput((str(tmp_path / name),)),))
        with pytest.raises(InvalidRequestError, match=message):
            run(bad, tmp_path / "run.sqlite")
    with pytest.raises(InvalidRequestError, match=r"99 rows of .*; expected no more rows than there are"):
        run(dataclasses.replace(SMALL_SPEC, rows=99), tmp_path / "run.sqlite")
    assert not (tmp_path / "run.sqlite").exists()


def test_pools_are_spawned() -> None:
    pool = worker_pool(1)
    assert isinstance(pool, ProcessPoolExecutor)
    assert pool.submit(os.getpid).result() != os.getpid()
    pool.shutdown()


def test_rows_of_mixed_logits_stay_under_their_bound(tmp_path: Path) -> None:
    # the difference of exact values is known to its root mean square, and small elements less well
    np.savez(tmp_path / "a.npz", q=[[1.0], [3e-3]], k=[[0.0], [1.0]], v=[[0.0], [1.0]])
    spec = dataclasses.replace(SMALL_SPEC, inputs=(FileInput((str(tmp_path / "a.npz"),), scale=1.0),), orders=(13, 14))
    run(spec, tmp_path / "run.sqlite")
    assert {record["status"] for record in records(tmp_path / "run.sqlite")} == {"ok"}


DEADLY = """
import os
from dataclasses import replace
from verify.families import LogitKernel

def aborts(problem, arithmetic, member):
    os.abort()

def hoards(problem, arithmetic, member):
    held = []
    while True:
        held.append(bytearray(1 << 24))

PAIRS = LogitKernel.forms[0]

class Deadly(LogitKernel):
    name, description, source = "deadly", "exp, computed by what ends its process", "a test"
    forms = (PAIRS, replace(PAIRS, name="aborts", compute=aborts), replace(PAIRS, name="hoards", compute=hoards))

    def function(self, f, s, member):
        return f.exp(s)

DEADLY = Deadly()
"""


def test_what_aborts_or_takes_all_memory_costs_its_own_cells(tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    chosen = known((f"{tmp_path / 'deadly.py'}:DEADLY",)).plans(["deadly", "softmax/softmax", "taylor/scores"])
    spec = SweepSpec((SyntheticInput("normal", 2, 3),), tuple(chosen), (0, 1, 2), ("float64",))
    limits = Limits(memory=1 << 20)
    summary = run(spec, tmp_path / "run.sqlite", lambda: worker_pool(2), limits=limits)
    assert summary.by_status == {"ok": 5, "refused": 1, "failed": 0, "crashed": 1}
    found = {(r["mechanism"], r["form"]): r for r in records(tmp_path / "run.sqlite")}
    assert "died" in found["deadly", "aborts"]["reason"]
    assert found["deadly", "hoards"]["reason"].startswith("work that takes more memory than 1 GiB")
    assert found["deadly", "pairs"]["status"] == "ok"
    again = run(spec, tmp_path / "run.sqlite", lambda: worker_pool(2), limits=limits)
    assert (again.measured, again.reused) == (1, 6)  # what crashed, and not what is refused under these limits
