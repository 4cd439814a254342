"""Functions that crash, hang, print or change their inputs: each a failed call, never our end."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from tests.check.wrong import HARMFUL
from verify.check.judgement import Verdict
from verify.check.run import Asked, check_function
from verify.check.suite import cases_of
from verify.errors import InvalidRequestError
from verify.isolated.isolation import Call, Loaded, Target

FILE = str(Path(__file__).with_name("wrong.py"))
X = np.random.default_rng(15).standard_normal((1, 2, 6, 4)).astype(np.float32)
# Said of their answers, which are arrays; the others' answers are none.
OF_NUMBERS = {"transposed", "wider", "nan", "random", "starts_others"}
FEW = tuple(case.name for case in cases_of("quick") if case.name != "random")


def processes_of(function: Loaded) -> set[int]:
    """Return the processes in the session of a function's process."""
    assert function._process is not None
    session = function._process._child.pid
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) == session:
                found.add(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", sorted(set(HARMFUL) - OF_NUMBERS))
def test_what_is_no_answer_is_said_in_words(name: str) -> None:
    with Loaded(Target(f"{FILE}:{name}", timeout=1.0, memory=2**28)) as function:
        returned = function.call(Call([X, X, X]))
        assert returned.values is None
        assert HARMFUL[name] in returned.failure
        assert "\n" not in returned.failure
        # and the next call is answered by a process that lives
        assert HARMFUL[name] in function.call(Call([X, X, X])).failure or name == "view"


@pytest.mark.parametrize("name", sorted(OF_NUMBERS))
def test_answers_of_another_kind_are_failed_cases(name: str) -> None:
    checked = check_function(Asked(Target(f"{FILE}:{name}"), left_out=FEW))
    failed = checked.of(Verdict.FAILED)
    assert not checked.passed
    assert any(HARMFUL[name] in result.text for result in failed), [result.text for result in failed]


def test_no_process_is_left_behind() -> None:
    with Loaded(Target(f"{FILE}:starts_others")) as function:
        function.call(Call([X, X, X]))
        left = processes_of(function)
        assert len(left) == 2, "the function has started another process"
    deadline = monotonic() + 20  # they are killed; when they are gone is the system's business
    while any(_runs(number) for number in left) and monotonic() < deadline:
        sleep(0.01)
    assert not any(_runs(number) for number in left)


def _runs(number: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1][:3]
    except OSError:
        return False


def test_a_function_that_hangs_is_not_tried_for_ever() -> None:
    checked = check_function(Asked(Target(f"{FILE}:sleeps", timeout=0.3)))
    assert [result.text for result in checked.of(Verdict.FAILED)] == ["it took more than 0.3 s"] * 2
    assert sum("took too long" in result.text for result in checked.of(Verdict.LEFT_OUT)) > 10
    assert not checked.of(Verdict.PASSED)


def test_what_it_prints_is_kept_apart(capfd: pytest.CaptureFixture[str]) -> None:
    checked = check_function(Asked(Target(f"{FILE}:printed_a_little"), left_out=FEW))
    assert checked.passed
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("no.such.module:f", "does not import"),
        (f"{FILE}:missing", "without missing"),
        (f"{FILE}:WRONG", "of type dict"),
        ("numpy:pi", "of type float"),
    ],
)
def test_what_is_no_function_is_refused(text: str, given: str) -> None:
    with pytest.raises(InvalidRequestError, match=given):
        Loaded(Target(text))


def test_other_interpreters_and_frameworks_are_refused_in_words(tmp_path: Path) -> None:
    for python, given in (("/no/python", "cannot be started"), (sys.executable, "without nothing_such")):
        with pytest.raises(InvalidRequestError, match=given):
            Loaded(Target(f"{FILE}:right", "numpy" if "no" in python[:4] else "nothing_such", python=python))
    with pytest.raises(InvalidRequestError, match="cannot be loaded"):
        Loaded(Target(f"{FILE}:right", python="/bin/true"))


def test_a_module_that_raises_or_ends_the_process_is_refused(tmp_path: Path) -> None:
    for text, given in (
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit", "SystemExit"),
        ("import os; os._exit(3)", "3"),
    ):
        path = tmp_path / "module.py"
        path.write_text(text)
        with pytest.raises(InvalidRequestError, match=given):
            Loaded(Target(f"{path}:f"))


def test_bfloat16_and_gaps_arrive_as_they_are() -> None:
    import ml_dtypes

    held = X.astype(ml_dtypes.bfloat16)
    with Loaded(Target("numpy:maximum")) as function:
        for strided in (False, True):
            found = function.call(Call([held, held], strided=strided))
            assert found.dtype == "bfloat16"
            assert found.values is not None
            assert found.values.tobytes() == held.tobytes()


def test_an_interpreter_that_lacks_a_format_is_refused_in_words(tmp_path: Path) -> None:
    """numpy alone is enough for all formats that numpy knows."""
    import ml_dtypes

    (tmp_path / "ml_dtypes.py").write_text("raise ImportError('not here')\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with Loaded(Target("numpy:maximum", python=str(python))) as function:
        with pytest.raises(InvalidRequestError, match="bfloat16 arrays of numpy, without ml_dtypes"):
            function.call(Call([X.astype(ml_dtypes.bfloat16), X]))
        found = function.call(Call([X, X])).values
        assert found is not None
        assert found.tobytes() == X.tobytes()


MEDDLING = """
import os
import numpy as np

def right(q, k, v):
    return q + k

def forks(q, k, v):
    os.fork()
    return right(q, k, v)

def foreign_bytes(q, k, v):
    return right(q, k, v).astype(">f4")

def writes_anywhere(q, k, v):
    for number in range(3, 64):
        try:
            os.write(number, b"[[1], 2]\\n")
        except OSError:
            pass
    return right(q, k, v)

def answers_itself(q, k, v):
    for number in range(3, 64):
        try:
            os.write(number, b'{"outcome": "returned"}\\n')
        except OSError:
            pass
    return right(q, k, v)
"""


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("forks", ""),
        ("foreign_bytes", ""),
        ("writes_anywhere", "it wrote where its process answers"),
        ("answers_itself", "its result cannot be read"),
    ],
)
def test_a_function_that_meddles_is_answered_for_once(tmp_path: Path, name: str, failure: str) -> None:
    path = tmp_path / "meddling.py"
    path.write_text(MEDDLING)
    with Loaded(Target(f"{path}:{name}", timeout=10.0)) as function:
        for factor in (1, 2, 3):  # what came back is of this call, not of one before
            returned = function.call(Call([factor * X, X, X]))
            assert returned.failure == failure
            if not failure:
                np.testing.assert_array_equal(returned.values, factor * X + X)
