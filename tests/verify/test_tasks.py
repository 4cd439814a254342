"""Tasks: what breaks one cell leaves its neighbours alone, and every record says which cell it is of."""

from __future__ import annotations

import dataclasses
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tests.cases import variant
from tests.cells import records_of
from verify.attention import Form, Variant
from verify.errors import InvalidRequestError
from verify.inputs import FileInput
from verify.measure.cell import Cell
from verify.measure.portion import BLOCK_PAIRS
from verify.mechanisms import known, named_variant
from verify.parallel.deadline import deadline
from verify.parallel.executors import InProcessExecutor
from verify.sweep import Limits, RunFile, Status, SweepSpec, run_sweep
from verify.sweep.tasks import Look, Subject, done

SOFTMAX = Cell(variant("softmax", "softmax"), "float64")


@pytest.fixture
def source(tmp_path: Path) -> FileInput:
    write(tmp_path / "a.npz")
    return FileInput((str(tmp_path / "a.npz"),))


def write(path: Path, factor: float = 1.0) -> None:
    q, k, v = np.random.default_rng(61).standard_normal((3, 5, 3))
    np.savez(path, q=q, k=k, v=factor * v)


def change(monkeypatch: pytest.MonkeyPatch, which: Variant, **members: Any) -> Form:
    """Change a form of a mechanism, and return it as it was."""
    mechanism = which.member.mechanism
    forms = [dataclasses.replace(f, **members) if f is which.how else f for f in mechanism.forms]
    unchanged = which.how
    monkeypatch.setattr(type(mechanism), "forms", tuple(forms))
    return unchanged


def test_an_unexpected_error_is_one_crashed_cell(source: FileInput, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise OverflowError("planted")

    scores = variant("taylor", "scores", 1)
    change(monkeypatch, scores, compute=broken)
    found = records_of(source, SOFTMAX, Cell(scores, "float64"))
    assert [record.status for record in found] == [Status.OK, Status.CRASHED]
    assert found[1].reason == "OverflowError: planted"


def test_linear_algebra_runs_on_one_thread(source: FileInput, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()

    def watched(*arguments: Any) -> Any:
        threads.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return form.compute(*arguments)

    form = change(monkeypatch, SOFTMAX.variant, compute=watched)
    assert [record.status for record in records_of(source, SOFTMAX)] == [Status.OK]
    assert threads == {1}


def test_an_input_that_changed_is_not_measured_under_its_old_name(source: FileInput) -> None:
    digest = source.load().digest
    write(Path(source.name), 2.0)
    with pytest.raises(InvalidRequestError, match="changed while the sweep ran"):
        done(Look(Subject(source, digest, None, BLOCK_PAIRS), (SOFTMAX,)))


@pytest.mark.parametrize(
    ("name", "labels", "options"),
    [
        ("softmax/softmax", {}, {}),
        (
            "taylor:order=2/packed:side=both,degrees=apart",
            {"order": 2, "terms": 3},
            {"side": "both", "degrees": "apart"},
        ),
        ("taylor:order=2/packed:chunk=2", {"order": 2, "terms": 3}, {"chunk": 2}),
        ("favor:features=8/stream:compensated=yes", {"features": 8, "seed": 0}, {"compensated": True}),
    ],
)
def test_a_record_says_which_cell_it_is_of(
    name: str, labels: dict[str, Any], options: dict[str, Any], source: FileInput
) -> None:
    chosen = named_variant(name)
    (record,) = records_of(source, Cell(chosen, "float32"))
    assert record.status == Status.OK
    member, _, form = name.partition("/")
    assert (record.mechanism, record.form, record.arithmetic) == (
        *(member.partition(":")[0], form.partition(":")[0], "float32"),
    )
    assert (record.member, record.labels, record.options) == (chosen.member.name, labels, options)


def test_options_are_what_is_computed(source: FileInput) -> None:
    # rounding of another side, or of sums in a narrower format: the same exact values, other errors
    names = [f"taylor:order=3/packed{options}" for options in ("", ":side=both", ":storage=bfloat16")]
    plain, other, narrow = records_of(source, *(Cell(named_variant(name), "float32") for name in names))
    assert plain.errors["formula"] == other.errors["formula"] == narrow.errors["formula"]
    assert plain.errors["rounding"] != other.errors["rounding"]
    assert narrow.errors["rounding"].rms > 100 * plain.errors["rounding"].rms
    assert narrow.bounds["rounding"].relative > 100 * plain.bounds["rounding"].relative


def test_what_is_unknown_has_no_bound(source: FileInput, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = Cell(variant("taylor", "scores", 2), "float64")
    (known,) = records_of(source, scores)
    assert set(known.bounds) == {"formula", "rounding", "rounding_probable"}
    change(monkeypatch, scores.variant, rounding=None)
    (unknown,) = records_of(source, scores)
    assert set(unknown.bounds) == {"formula"}
    monkeypatch.setattr(type(scores.member.mechanism), "formula_bound", lambda *_: None)
    (nothing,) = records_of(source, scores)
    assert nothing.bounds == {}
    assert known.errors == unknown.errors == nothing.errors
    (softmax,) = records_of(source, SOFTMAX)
    assert set(softmax.bounds) == {"rounding", "rounding_probable"}
    assert set(softmax.errors) == {"rounding", "quantisation", "total"}


def test_a_bound_that_is_none_fails_its_cell(source: FileInput, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = Cell(variant("taylor", "scores", 2), "float64")
    shape = source.load().output_shape
    monkeypatch.setattr(type(scores.member.mechanism), "formula_bound", lambda *_: np.full(shape, 1e-9))
    found = records_of(source, scores, SOFTMAX)
    assert [record.status for record in found] == [Status.FAILED, Status.OK]
    assert found[0].reason.startswith("the error of formula is ")
    assert found[0].reason.endswith(" times its bound")
    assert (found[0].errors, found[0].bounds) == ({}, {})


HOLDING = Cell(variant("taylor", "packed", 3), "float64")


def ended(path: Path, source: FileInput, limits: Limits) -> tuple[dict[str, int], set[str]]:
    """Sweep one form that goes pair by pair and one with a state; return how cells ended, and why."""
    spec = SweepSpec((source,), tuple(known().plans(["softmax/softmax", "taylor/packed"])), (3,), ("float64",))
    summary = run_sweep(
        *(spec, lambda: RunFile(path, write=True), InProcessExecutor), started="now", command="x", limits=limits
    )
    with RunFile(path) as run_file:
        reasons = {record.reason for _, record, _ in run_file.records() if record.reason}
    return {"measured": summary.measured} | summary.by_status, reasons


def test_what_was_refused_is_tried_again_under_other_limits_only(source: FileInput, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    counts, (reason,) = ended(path, source, Limits(memory=10))
    assert counts == {"measured": 2, "ok": 1, "refused": 1, "failed": 0, "crashed": 0}  # softmax is none the worse
    assert reason.startswith("20 features of order 3 at head size 3 in float64 need 5 MiB; expected at most 1 MiB;")
    assert ended(path, source, Limits(memory=10))[0]["measured"] == 0
    counts, reasons = ended(path, source, Limits(memory=10 << 20))
    assert counts == {"measured": 1, "ok": 2, "refused": 0, "failed": 0, "crashed": 0}
    assert not reasons
    assert ended(path, source, Limits(memory=10))[0]["measured"] == 0  # what is measured stays


@pytest.mark.parametrize("thread", [False, True])
def test_what_takes_too_long_is_refused_wherever_it_runs(
    thread: bool, source: FileInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_: Any, **__: Any) -> Any:
        while True:
            sum(range(1000))

    change(monkeypatch, HOLDING.variant, compute=endless)
    found: list[Any] = []
    work = partial(ended, tmp_path / "run.sqlite", source, Limits(seconds=2.5))
    if thread:
        other = threading.Thread(target=lambda: found.append(work()))
        other.start()
        other.join()
    else:
        found.append(work())
    counts, (reason,) = found[0]
    assert counts == {"measured": 2, "ok": 1, "refused": 1, "failed": 0, "crashed": 0}
    assert reason == "work that takes more than 2.5 s; expected no more; allow it more (--timeout)"


def test_a_deadline_that_is_met_leaves_nothing_behind() -> None:
    def meet() -> None:
        for seconds in (60.0, None):
            with deadline(seconds):
                pass

    before = signal.getsignal(signal.SIGALRM)
    meet()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before
    other = threading.Thread(target=meet)
    other.start()
    other.join()
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(30)  # half the time it would wait for
            assert not thread.is_alive()
