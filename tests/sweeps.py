"""What tests of sweeps have in common: plans by name, running one, and reading what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from verify.mechanisms import known
from verify.mechanisms.registry import Plan
from verify.parallel.executors import InProcessExecutor
from verify.sweep import RunFile, SweepSpec, SweepSummary, run_sweep


def plans(*names: str) -> tuple[Plan, ...]:
    return tuple(known().plans(names))


def run(spec: SweepSpec, path: Path, executor: Callable[[], Executor] = InProcessExecutor, **more: Any) -> SweepSummary:
    return run_sweep(spec, lambda: RunFile(path, write=True), executor, started="now", command="test", **more)


def records(path: Path) -> list[dict[str, Any]]:
    with RunFile(path) as file:
        return [json.loads(record.to_json()) for _, record, _ in file.records()]
