"""Trials: a change is made in the copy, and the tests that execute it notice it or do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.changes import Change
from tests.mutants.processes import CrashedError, apart
from tests.mutants.record import OPTIONS, Record

# Seconds for a change: what its tests took when they were recorded, which slows them down; when they are ended.
CHOSEN, LIMIT = 40.0, 60.0

# Tests do not end if they take more than this many times as long as just now without the change.
TIMES = 3


@dataclass(frozen=True)
class Trial:
    """What became of a change."""

    change: Change
    executing: int  # tests that execute it
    run: int  # those of them for which there was time
    noticed: bool
    in_time: bool = True  # a change is noticed if its tests end only without it
    by: str | None = None  # the test that failed; None where nothing could run any more

    def __str__(self) -> str:
        tests = f"{self.run} of the {self.executing} tests that execute it" if self.executing else "no test executes it"
        return f"{self.change}\n    {tests}"


def tried(change: Change, record: Record, copy: Path) -> Trial:
    """Put a change to its tests, up to the first that fails."""
    path = copy / change.file
    source = path.read_text()
    executing = record.of(source, change.file, change.line, lambda name: (copy / name).read_text())
    tests = record.chosen(executing, CHOSEN)
    counts = len(executing), len(tests)
    if not tests:
        return Trial(change, *counts, noticed=False)
    run = (_run, [test.name for test in tests], "-x")
    limit = min(LIMIT, 10 + 4 * record.seconds(tests))

    def within(seconds: float) -> Trial | None:
        path.write_text(change.text)
        try:
            ended = apart(copy, seconds, *run)
        except CrashedError:
            return Trial(change, *counts, noticed=True)
        finally:
            path.write_text(source)
        if ended is None:
            return None
        passed, failed = ended
        return Trial(change, *counts, noticed=not passed, by=failed[0] if failed else None)

    found = within(limit)
    if found is None:  # it may be the machine that is slow just now, which is so without the change too
        needed = TIMES * _seconds(lambda: apart(copy, None, *run))
        found = within(needed) if needed > limit else None
    return found or Trial(change, *counts, noticed=True, in_time=False)


def _seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def failing(names: Sequence[str], copy: Path) -> list[str]:
    """Return which tests fail in the copy as it is, where trials run; they notice nothing."""
    passed, failed = apart(copy, None, _run, list(names))
    if not passed and not failed:
        raise CrashedError(f"see {copy.with_name('output.txt')}")
    return list(failed)


def _run(names: list[str], *options: str) -> tuple[bool, list[str]]:
    chosen = _Chosen(names)
    code = pytest.main(
        [*OPTIONS, *options, *dict.fromkeys(name.partition("::")[0] for name in names)], plugins=[chosen]
    )
    return code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), chosen.failed


class _Chosen:
    """A pytest plugin that leaves the chosen tests, in their order, and knows which failed."""

    def __init__(self, names: list[str]) -> None:
        self.order = {name: number for number, name in enumerate(names)}
        self.failed: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.order), key=lambda item: self.order[item.nodeid]
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
