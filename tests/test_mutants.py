"""A planted project: changes that its tests notice, that they do not, and that never end."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.mutants import trials
from tests.mutants.changes import PLACES, Accepted, Change, places, read_accepted, sample, unmatched
from tests.mutants.processes import copied
from tests.mutants.record import Record, Timed, assigned, recorded, statement
from tests.mutants.trials import Trial, failing, tried

FILE = f"{PLACES[0]}/planted.py"

CODE = """\
def half(value: int | None) -> int:
    if value is None:
        return 0
    return value // 2


def climb(top: int) -> int:
    step = 0
    while step < top:
        step += 1
    return step
"""

TESTS = """\
from verify.numbers.planted import climb, half

def test_half():
    assert half(4) == 2

def test_climb():
    assert climb(3) == 3

def test_wrong():
    assert False
"""

HALF, CLIMB, WRONG = (f"tests/test_planted.py::test_{name}" for name in ("half", "climb", "wrong"))
RECORD = Record(
    [Timed(HALF, 0.01, []), Timed(CLIMB, 0.02, ["wide"])],
    {"wide": 0.5},
    {FILE: {2: [0], 4: [0], 8: [1], 9: [1], 10: [1], 11: [1]}},
    [WRONG],
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    importlib.import_module("hypothesis")  # its plugin would import it anew in each process
    for name, text in {FILE: CODE, "tests/test_planted.py": TESTS, "pyproject.toml": "[tool.pytest]\n"}.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for package in ("verify", "verify/numbers"):
        (tmp_path / "project" / package / "__init__.py").touch()
    copied(tmp_path / "project", tmp_path / "copy")  # its compiled code follows changes within a second
    return tmp_path / "copy"


def planted(before: str, after: str) -> Change:
    assert CODE.count(before) == 1
    return Change(FILE, before, after, CODE[: CODE.index(before)].count("\n") + 1, CODE.replace(before, after))


def trial(before: str, after: str, copy: Path) -> Trial:
    found = tried(planted(before, after), RECORD, copy)
    assert (copy / FILE).read_text() == CODE
    return found


def test_a_change_is_noticed_by_the_test_that_fails(copy: Path) -> None:
    found = trial("value // 2", "value * 2", copy)
    assert (found.noticed, found.in_time, found.by, found.executing, found.run) == (True, True, HALF, 1, 1)


def test_a_change_that_no_test_can_tell_survives(copy: Path) -> None:
    found = trial("step < top", "step != top", copy)
    assert (found.noticed, found.in_time, found.by) == (False, True, None)
    assert f"{FILE}:9\n    - step < top\n    + step != top\n    1 of the 1 tests" in str(found)


def test_a_change_that_no_test_executes_survives(copy: Path) -> None:
    found = trial("return 0", "return 1", copy)
    assert (found.noticed, found.executing) == (False, 0)
    assert "no test executes it" in str(found)


def test_a_change_that_never_ends_is_noticed_by_that(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "LIMIT", 0.1)
    found = trial("step += 1", "step += 0", copy)
    assert (found.noticed, found.in_time, found.by) == (True, False, None)


@pytest.mark.parametrize(
    ("without", "answers", "noticed", "in_time", "limits"),
    [
        (0.5, [None, (True, [])], True, False, [2.0, None]),
        (1.0, [None, (True, []), None], True, False, [2.0, None, 3.0]),
        (50.0, [None, (True, []), (True, [])], False, True, [2.0, None, 150.0]),
        (50.0, [None, (True, []), (False, [CLIMB])], True, True, [2.0, None, 150.0]),
    ],
    ids=["ends without", "takes thrice as long", "slow machine", "slow machine and a failure"],
)
def test_a_slow_machine_is_no_endless_change(
    without: float,
    answers: list[object],
    noticed: bool,
    in_time: bool,
    limits: list[float | None],
    copy: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float | None] = []
    clock = iter([0.0, without])

    def apart(copy: Path, limit: float | None, *run: object) -> object:
        assert ((copy / FILE).read_text() == CODE) == (limit is None)
        asked.append(limit)
        return answers[len(asked) - 1]

    monkeypatch.setattr(trials, "LIMIT", 2.0)
    monkeypatch.setattr(trials, "apart", apart)
    monkeypatch.setattr(trials, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    found = trial("step += 1", "step += 0", copy)
    assert (found.noticed, found.in_time, asked) == (noticed, in_time, limits)


def test_what_fails_without_a_change_is_named(copy: Path) -> None:
    assert failing([HALF, WRONG, CLIMB], copy) == [WRONG]


def test_every_function_has_its_turn_and_the_fastest_come_first() -> None:
    tests = [Timed(name, seconds, []) for name, seconds in (("a[1]", 1.0), ("a[2]", 2.0), ("b", 5.0), ("c", 99.0))]
    assert [test.name for test in Record(tests, {}, {}, []).chosen(tests, 7.0)] == ["a[1]", "b"]
    assert [test.name for test in Record(tests, {}, {}, []).chosen(tests, 8.0)] == ["a[1]", "a[2]", "b"]


def test_a_wide_fixture_is_made_once() -> None:
    tests = [Timed("a", 1.0, ["wide"]), Timed("b", 1.0, ["wide"]), Timed("c", 2.0, [])]
    record = Record(tests, {"wide": 5.0}, {}, [])
    assert [test.name for test in record.chosen(tests, 8.5)] == ["c", "a"]
    assert [test.name for test in record.chosen(tests, 9.0)] == ["c", "a", "b"]


def test_statements_without_what_they_contain() -> None:
    source = "X = 1\n\ndef f(\n    a=2,\n):\n    if (\n        a\n    ):\n        return [\n            a,\n        ]\n"
    lines = [statement(source, line) for line in (1, 4, 7, 10)]
    assert lines == [range(0), range(0), range(6, 9), range(9, 12)]


def test_what_runs_on_import_concerns_all_tests_of_the_file() -> None:
    lines = RECORD.lines[FILE] | {3: []}
    looking = Timed("tests/test_names.py::test_values", 0.1, [])
    imported = Record([*RECORD.tests, looking], RECORD.fixtures, {FILE: lines}, [])
    every = [HALF, CLIMB, looking.name]
    for record, line, names in (
        (RECORD, 1, [HALF, CLIMB]),
        (RECORD, 3, []),
        (imported, 3, every),
        (imported, 2, [HALF]),
    ):
        assert [test.name for test in record.of(CODE, FILE, line)] == names


def test_what_a_module_assigns_concerns_tests_that_name_it() -> None:
    source = "TOP = 3\n\n\ndef half(value: int) -> int:\n    return value // 2\n"
    assert [assigned(source, line) for line in (1, 5)] == ["TOP", None]
    other = Timed("tests/test_other.py::test_top", 0.1, [])
    record = Record([RECORD.tests[0], other], {}, {FILE: {5: [0]}}, [])
    texts = {"tests/test_other.py": "assert TOP == 3", "tests/test_planted.py": "TOPMOST"}
    assert [test.name for test in record.of(source, FILE, 1, texts.__getitem__)] == [HALF, other.name]
    assert [test.name for test in record.of(source, FILE, 5, texts.__getitem__)] == [HALF]


def test_an_accepted_change_that_is_none_any_more_is_named(tmp_path: Path, copy: Path) -> None:
    (tmp_path / "accepted.toml").write_text(
        f'[[accepted]]\nfile = "{FILE}"\nbefore = "return value // 3"\nafter = "return value"\nreason = "planted"\n'
    )
    entries = read_accepted(tmp_path / "accepted.toml")
    assert entries == [Accepted(FILE, "return value // 3", "return value", "planted")]
    assert unmatched(entries, copy) == entries


def test_changes_come_from_the_tool(copy: Path) -> None:
    pytest.importorskip("cosmic_ray", reason="make mutants installs it")
    changes = sample(copy, 1000, seed=1)
    assert changes == sample(copy, 1000, seed=1)
    assert [change.key for change in changes] != [change.key for change in sample(copy, 1000, seed=2)]
    assert len(changes) == len(places(copy, FILE)) == 9  # none in `int | None`
    entries = [Accepted(FILE, change.before, f"  {change.after}", "planted") for change in changes]
    other = Accepted(FILE, "return value // 2", "return value // 4", "planted")
    assert unmatched([*entries, other], copy) == [other]


def test_a_sample_stays_what_it_was_where_the_code_does(copy: Path) -> None:
    pytest.importorskip("cosmic_ray", reason="make mutants installs it")
    before = [change.key for change in sample(copy, 1000, seed=1)]
    (copy / FILE).write_text("LIMIT = 7 + 1\n\n\n" + CODE)
    after = [change.key for change in sample(copy, 1000, seed=1)]
    added = [key for key in after if key not in before]
    assert [key for key in after if key in before] == before
    assert {key[1] for key in added} == {"LIMIT=7+1"}


def test_lines_are_recorded(copy: Path) -> None:
    pytest.importorskip("coverage", reason="make mutants installs it")
    record = recorded(copy, ["verify"])
    assert ([test.name for test in record.tests], record.failed) == ([HALF, CLIMB], [WRONG])
    assert {line: tests for line, tests in record.lines[FILE].items() if tests} == RECORD.lines[FILE]
    assert recorded(copy, ["none: it is read"]) == record
