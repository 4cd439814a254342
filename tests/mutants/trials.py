"""Trials: a change is made in the copy, and the tests that execute it notice it or do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.changes import Change
from tests.mutants.processes import CrashedError, apart
from tests.mutants.record import OPTIONS, Record

# Seconds for a change: what its tests took when they were recorded, which slows them down; when they are ended.
CHOSEN, LIMIT = 40.0, 60.0


@dataclass(frozen=True)
class Trial:
    """What became of a change."""

    change: Change
    executing: int  # tests that execute it
    run: int  # those of them for which there was time
    noticed: bool
    in_time: bool = True  # a change is noticed by that if its tests end in time without it
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
    run = (copy, min(LIMIT, 10 + 4 * record.seconds(tests)), _run, [test.name for test in tests], "-x")
    path.write_text(change.text)
    try:
        ended = apart(*run)
    except CrashedError:
        return Trial(change, *counts, noticed=True)
    finally:
        path.write_text(source)
    if ended is None:
        return Trial(change, *counts, noticed=apart(*run) is not None, in_time=False)
    passed, failed = ended
    return Trial(change, *counts, noticed=not passed, by=failed[0] if failed else None)


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
