"""Shared fixtures; every test must leave the global precisions as it found them."""

from __future__ import annotations

from collections.abc import Iterator
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
    """Let figures be empty files, which is most of the time of a report: for tests of what else there is."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **how: file.write(b"<svg></svg>"))


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
