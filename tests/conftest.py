"""Shared fixtures; every test must leave the global precisions as it found them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import flint
import pytest
from mpmath import mp

from verify.inputs import SyntheticInput
from verify.mechanisms import known
from verify.parallel.executors import InProcessExecutor
from verify.sweep import RunFile, SweepSpec, run_sweep


@pytest.fixture(autouse=True)
def _unchanged_precision() -> Iterator[None]:
    before = (mp.prec, flint.ctx.prec)
    yield
    assert (mp.prec, flint.ctx.prec) == before


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports have one empty figure, instead of what takes most of the time: for tests of what else there is."""

    from reports.figures import Figure  # and matplotlib with it, which most tests need not wait for

    def figures(runs: object, formats: Sequence[str]) -> list[Figure]:
        images = dict.fromkeys(formats, b"<svg></svg>")
        return [Figure("error_by_order", "Error by order", "One order after the other.", "nothing is drawn", images)]

    monkeypatch.setattr("reports.write.figures", figures)


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all figures be drawn, and their files be empty."""
    monkeypatch.setattr("reports.figures.every.saved", lambda canvas, kind: b"<svg></svg>")


SMALL_SPEC = SweepSpec(
    inputs=(SyntheticInput("normal", 4, 12), SyntheticInput("normal", 8, 12, logit_std=4.0)),
    plans=tuple(known().plans(["softmax/softmax", "logexp/quadratic", "taylor/scores", "taylor/packed"])),
    orders=(0, 1, 3),
    arithmetics=("float64", "float32"),
)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run file; tests read it and never write to it."""
    path = tmp_path_factory.mktemp("runs") / "small.sqlite"
    run_sweep(
        SMALL_SPEC,
        lambda: RunFile(path, write=True),
        InProcessExecutor,
        started="2026-01-01T00:00:00+00:00",
        command="attnproof sweep --input <b>&|`x`",
    )
    return path
