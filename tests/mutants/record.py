"""Which tests execute which lines: recorded in one run of all of them, for as long as nothing changes."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import _lru_cache_wrapper
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.mutants.processes import apart

APART = ("tests/mutants", "tests/test_mutants.py")  # what tells nothing of the rest
WHOLE = "tests/test_names.py"  # what looks at modules as they are once they are imported
OPTIONS = (
    *("-q", "-p", "no:cacheprovider", "-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"),
    "--hypothesis-profile=ci",  # the same examples every time
)


class Timed(NamedTuple):
    """A test, its seconds, and the wide fixtures it uses besides: those made once for several tests."""

    name: str
    seconds: float
    wide: list[str]


@dataclass(frozen=True)
class Record:
    """What tests take, and which of them execute a line."""

    tests: list[Timed]
    fixtures: dict[str, float]  # seconds of each wide fixture
    lines: dict[str, dict[int, list[int]]]  # file, line: numbers of tests, none if only imports execute it
    failed: list[str]  # tests that fail without any change

    def of(self, source: str, file: str, line: int, texts: Callable[[str], str] = lambda name: "") -> list[Timed]:
        """Return the tests that execute a statement; if it runs on import, others that may tell.

        These are all that execute something of the file, what looks at modules, and tests whose file names what the
        statement assigns; texts: of a test's file.
        """
        executed = self.lines.get(file, {})
        own = statement(source, line)
        numbers = {number for line in own for number in executed.get(line, [])}
        if not own or (not numbers and any(line in executed for line in own)):
            numbers = {number for tests in executed.values() for number in tests}
            name = assigned(source, line)
            files = {test.name.partition("::")[0] for test in self.tests}
            telling = {name_ for name_ in files if name_ == WHOLE or (name and re.search(rf"\b{name}\b", texts(name_)))}
            numbers |= {number for number, test in enumerate(self.tests) if test.name.partition("::")[0] in telling}
        return [self.tests[number] for number in sorted(numbers)]

    def chosen(self, tests: Iterable[Timed], seconds: float) -> list[Timed]:
        """Return what fits into so many seconds, fastest first: one case of every test function, then more of them."""
        cases: Counter[str] = Counter()
        turns: list[tuple[int, Timed]] = []
        for test in sorted(tests, key=self._alone):
            function = test.name.partition("[")[0]
            turns.append((cases[function], test))
            cases[function] += 1
        found: list[Timed] = []
        made: set[str] = set()
        for _, test in sorted(turns, key=lambda turn: turn[0]):
            needed = test.seconds + sum(self.fixtures[name] for name in test.wide if name not in made)
            if needed <= seconds:
                seconds -= needed
                found.append(test)
                made.update(test.wide)
        return sorted(found, key=self._alone)

    def _alone(self, test: Timed) -> float:
        return self.seconds([test])

    def seconds(self, tests: Sequence[Timed]) -> float:
        """Return what tests took together."""
        wide = {name for test in tests for name in test.wide}
        return sum(test.seconds for test in tests) + sum(self.fixtures[name] for name in wide)


def statement(source: str, line: int) -> range:
    """Return the lines of the statement at a line, without those of its body; none if it runs on import."""
    node: ast.AST | None = ast.parse(source)
    found, called = range(0), False
    while node is not None:
        called = called or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        parts = (part for part in ast.iter_child_nodes(node) if isinstance(part, ast.stmt | ast.ExceptHandler))
        node = next((part for part in parts if part.lineno <= line <= (part.end_lineno or 0)), None)
        if node is not None and called:
            body = getattr(node, "body", None)
            found = range(node.lineno, max(node.lineno + 1, body[0].lineno) if body else (node.end_lineno or 0) + 1)
    return found


def assigned(source: str, line: int) -> str | None:
    """Return the name that a statement of a module assigns on a line; None if it is no such statement."""
    for node in ast.parse(source).body:
        if node.lineno <= line <= (node.end_lineno or 0):
            targets = node.targets if isinstance(node, ast.Assign) else []
            return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else None
    return None


def recorded(copy: Path, folders: Iterable[str]) -> Record:
    """Return the record of what stands in the copy, from the file of an earlier time if there is one."""
    state = hashlib.sha256(sys.version.encode())
    for path in sorted(path for kind in ("*.py", "*.toml") for path in copy.rglob(kind)):
        name = path.relative_to(copy).as_posix()
        if not name.startswith(APART):
            state.update(f"\0{name}\0{path.read_text()}".encode())
    file = copy.with_name("record.json")
    found = json.loads(file.read_text()) if file.exists() else {}
    if found.get("state") != state.hexdigest():
        found = apart(copy, None, _record, copy, list(folders)) | {"state": state.hexdigest()}
        file.write_text(json.dumps(found))
    lines = {name: {int(line): tests for line, tests in rest.items()} for name, rest in found["lines"].items()}
    return Record([Timed(*test) for test in found["tests"]], found["fixtures"], lines, found["failed"])


def _record(copy: Path, folders: list[str]) -> dict[str, Any]:
    from coverage import Coverage

    coverage = Coverage(data_file=None, config_file=False, source=[str(copy / folder) for folder in folders])
    coverage.start()
    recorder = _Recorder(coverage.switch_context, folders)
    code = pytest.main([*OPTIONS, *(f"--ignore={name}" for name in APART)], plugins=[recorder])
    coverage.stop()
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        os._exit(1)  # not all tests have run
    tests = [test for test in recorder.tests if test.name not in recorder.failed]
    users: dict[str, list[int]] = {}
    for number, test in enumerate(tests):
        for context in (test.name, *map(_context, test.wide)):
            users.setdefault(context, []).append(number)
    data, lines = coverage.get_data(), {}
    for file in data.measured_files():
        lines[Path(file).relative_to(copy).as_posix()] = {
            line: sorted({number for context in contexts for number in users.get(context, [])})
            for line, contexts in data.contexts_by_lineno(file).items()
        }
    failed = sorted(recorder.failed)
    return {"tests": list(map(tuple, tests)), "fixtures": recorder.fixtures, "lines": lines, "failed": failed}


def _seconds() -> float:
    return sum(os.times()[:4])  # of processors, also of processes it waited for: what else they do does not matter


def _context(fixture: str) -> str:
    return f"fixture {fixture}"


class _Recorder:
    """A pytest plugin that says which test runs, and makes each as if it were alone."""

    def __init__(self, switch: Callable[[str], object], folders: list[str]) -> None:
        self.switch, self.folders = switch, folders
        self.tests: list[Timed] = []
        self.fixtures: dict[str, float] = {}
        self.failed: set[str] = set()
        self.now, self.beside = "", 0.0  # the test that runs, and the seconds of wide fixtures made for it

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Function) -> Generator[None, object, object]:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in self.folders:
                for value in list(vars(module).values()):
                    if isinstance(value, _lru_cache_wrapper):
                        value.cache_clear()  # what an earlier test has left there, this one would not execute
        self.now, self.beside, started = item.nodeid, 0.0, _seconds()
        self.switch(item.nodeid)
        try:
            return (yield)
        finally:
            self.switch("")
            wide = [name for name in item.fixturenames if name in self.fixtures]
            self.tests.append(Timed(item.nodeid, _seconds() - started - self.beside, wide))

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        started = _seconds()
        self.switch(_context(fixturedef.argname))
        try:
            return (yield)
        finally:
            self.switch(self.now)
            self.fixtures[fixturedef.argname] = _seconds() - started
            self.beside += self.fixtures[fixturedef.argname]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
