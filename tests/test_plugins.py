"""Mechanisms in files of their own: those that are wrong, and those that go to other processes or change on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pytest

from tests.cli.running import run
from tests.own import FUNCTION, written
from verify.attention.contract import Member
from verify.errors import InvalidRequestError
from verify.inputs import SyntheticInput
from verify.mechanisms import known, named_member, named_variant
from verify.parallel.executors import InProcessExecutor, submitted, worker_pool
from verify.sweep import Record, RunFile, Status, SweepSpec, run_sweep
from verify.truth import reference

SMALL = (
    "--input",
    "normal",
    "--head-sizes",
    3,
    "--tokens",
    5,
    "--logit-std",
    1,
    "--arithmetic",
    "float64",
    "--jobs",
    0,
)
INPUT = SyntheticInput("normal", 3, 5)

# What is changed, and how the refusal begins.
REFUSED = {
    "syntax": ([("class Mine", "klass Mine")], r".*mine\.py, which does not import \(SyntaxError: .*line 5\)"),
    "not text": ([("ours", "\x00")], r".*mine\.py, which does not import \("),
    "name error": ([("Whole(1", "Hole(1")], r".*does not import \(NameError: name 'Hole' is not defined, line 9\)"),
    "two lines": ([("MINE =", 'raise ValueError("one\\ntwo")\nMINE =')], r".*\(ValueError: one two, line 16\)"),
    "exit": ([("MINE =", "raise SystemExit\nMINE =")], r".*does not import \(SystemExit, line 16\)"),
    "abstract": (
        [("def function", "def other")],
        r".*does not import \(TypeError: Can't instantiate abstract class Mine",
    ),
    "no name": ([("MINE =", "OTHER =")], r".*mine\.py without MINE"),
    "class": ([("Mine()", "Mine")], r"MINE of .*mine\.py, a class; expected an instance of it; write NAME = Class\(\)"),
    "other": ([("Mine()", "3")], r"MINE of .*mine\.py, which is of type int; expected a mechanism"),
    "no source": ([('"ours"', '" "')], r"MINE of .* without source; expected text"),
    "shipped": (
        [('"mine"', '"softmax"')],
        r".*mine\.py:MINE with a mechanism called 'softmax'; expected a name that is not",
    ),
    "characters": ([('"mine"', '"mine:2"')], r"MINE of .* called 'mine:2'; expected letters, digits, dashes and under"),
    "dash": ([('"mine"', '"-mine"')], r"MINE of .* called '-mine'"),
    "axis": (
        [('axis = "order"', 'axis = "terms"')],
        r"MINE of .* with the axis 'terms'; expected one of its parameters",
    ),
    "parameter": (
        [("Whole(1, least=1, most=7, step=2)", "3")],
        r"MINE of .* with order of type int; expected Whole, Real",
    ),
    "parameter name": ([('{"order"', '{"the order"')], r"MINE of .* with a parameter called 'the order'"),
    "no error": (
        [("axis", "formula_error = None\n    axis")],
        r"MINE of .* without a formula error; expected truncation or",
    ),
    "odd error": (
        [("axis", 'formula_error = "odd"\n    axis')],
        r"MINE of .* with the formula error 'odd'; expected truncation or deviation",
    ),
    "proposed": ([('axis = "order"', "proposed = 3")], r"MINE of .* with 3 proposed; expected an axis"),
    "proposed beyond": ([("    axis", "    proposed = 9\n    axis")], r"MINE of .* with order 9 proposed; expected an"),
    "proposed between": (
        [("    axis", "    proposed = 2\n    axis")],
        r"MINE of .* with order 2 proposed; expected an",
    ),
    "forms": ([("axis", "forms = ()\n    axis")], r"MINE of .* with forms \[\]; expected at least one"),
    "no form": (
        [("axis", 'forms = ("pairs",)\n    axis')],
        r"MINE of .* with 'pairs' among its forms; expected each",
    ),
    "one form": ([("axis", "forms = 3\n    axis")], r"MINE of .* with forms of type int; expected a tuple of Form"),
    "number for a name": ([('"mine"', "7")], r"MINE of .* with the name 7; expected text; write it in quotes"),
    "no hash": ([("axis", "__hash__ = None\n    axis")], r"MINE of .* without a hash"),
}


def refused(code: int, printed: str, said: str) -> str:
    """Return the refusal, which is one line: given, expected, what to do."""
    assert (code, printed) == (2, "")
    assert re.fullmatch(r"attnproof: .+; expected .+; .+\n", said), said
    return said.removeprefix("attnproof: ")


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_declares_no_mechanism_is_refused(
    changes: list[tuple[str, str]], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run.sqlite"
    said = refused(*run(capsys, "sweep", *SMALL, "--mechanism", written(tmp_path, *changes), "--out", out))
    assert re.match(message, said), said
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}/absent.py:MINE", r".*absent\.py cannot be read \(No such file or directory\); expected a Python file"),
        ("{}/folder.py:MINE", r".*folder\.py cannot be read \(Is a directory\)"),
        ("{}/mine.py", "mechanism '.*mine.py'; expected FILE.py:NAME"),
        ("{}/mine.txt:MINE", "mechanism '.*mine.txt:MINE'; expected FILE.py:NAME"),
        ("{}/mine.py:3", "mechanism '.*mine.py:3'; expected FILE.py:NAME"),
        ("softmax", "mechanism 'softmax'; expected FILE.py:NAME"),
    ],
)
def test_a_text_that_names_no_file_is_refused(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path)
    (tmp_path / "folder.py").mkdir()
    given = ("--mechanism", text.format(tmp_path), "--out", tmp_path / "run.sqlite")
    said = refused(*run(capsys, "sweep", *SMALL, *given))
    assert re.match(message, said), said


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("mine:order=9", "order 9; expected an integer from 1 to 7 in steps of 2"),
        ("mine:order=2", "order 2; expected an integer from 1 to 7 in steps of 2"),
        ("mine:order=one", "order 'one'; expected an integer"),
        ("mine:terms=2", "unknown parameter 'terms'; expected one of order"),
        ("mine:order=1,order=3", "'order' given twice"),
        ("mine:order", "'order' in 'mine:order'; expected NAME=VALUE"),
        ("mine/stream", "form 'stream' of mechanism 'mine'; expected one of pairs"),
        ("mine/pairs:chunk=3", "unknown option 'chunk'; expected no options of the form pairs"),
        ("sofmax", "unknown mechanism 'sofmax'; expected one of softmax, .*; did you mean softmax?"),
        ("minne/pairs", "unknown mechanism 'minne'; expected .*, mine; did you mean mine?"),
        ("xyzzy", "unknown mechanism 'xyzzy'; expected .*; see attnproof list, or name a file as FILE.py:NAME"),
    ],
)
def test_a_member_or_a_form_that_is_none_is_refused(
    chosen: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--mechanism", written(tmp_path), "--mechanisms", chosen, "--out", tmp_path / "run.sqlite")
    said = refused(*run(capsys, "sweep", *SMALL, *given))
    assert re.match(message, said), said


SHORT = """\
from dataclasses import replace


def short(*given):
    output = LogitKernel.forms[0].compute(*given)
    return replace(output, value=output.value[..., :1])


class Mine(LogitKernel):
    forms = (replace(LogitKernel.forms[0], compute=short),)
"""

DECLARED = """
from dataclasses import replace


class Mine(LogitKernel):
    forms = (replace(LogitKernel.forms[0], {name}=lambda *given: {gives}),)
"""

WITHOUT = """
from dataclasses import replace


def without(*given):
    output = LogitKernel.forms[0].compute(*given)
    return {output}


class Mine(LogitKernel):
    forms = (replace(LogitKernel.forms[0], compute=without),)
"""

# What is changed, and the reason that the cell gives.
BROKEN = {
    "raises": (
        FUNCTION,
        '        raise ArithmeticError("no\\nweight")\n',
        r"mine, which raises ArithmeticError: no weight, line \d+; expected .*; mend mine\.py",
    ),
    "no number": (FUNCTION, "        return 'w'\n", "mine, which raises TypeError: a formula gives str"),
    "nothing": (FUNCTION, "        pass\n", "mine, which raises TypeError: "),
    "nan": (
        FUNCTION,
        "        return f.sqrt(-f.exp(s))\n",
        "mine:order=1 on .* add up to no number",
    ),
    "no output": (
        "class Mine(LogitKernel):\n",
        WITHOUT.format(output="output.value"),
        "ndarray from mine:order=1/pairs; expected an AttentionOutput with its hazards; mend the form",
    ),
    "no hazards": (
        "class Mine(LogitKernel):\n",
        WITHOUT.format(output="replace(output, hazards=None)"),
        "AttentionOutput from mine:order=1/pairs; expected an AttentionOutput with its hazards; mend the form",
    ),
    "no sums": (
        "class Mine(LogitKernel):\n",
        WITHOUT.format(output="replace(output, normaliser=None)"),
        r"sums of weights of shape \[\] from mine:order=1/pairs; expected \[5\]; mend the form",
    ),
    **{
        f"{name} gives {gives}": (
            "class Mine(LogitKernel):\n",
            DECLARED.format(name=name, gives=gives),
            rf"{gives} from {name}\(\) of mine:order=1/pairs; expected {expected}; mend ",
        )
        for name, gives, expected in (
            ("serves", "'no masks'", "an InvalidRequestError, or None"),
            ("cost", "None", "a Cost"),
            ("rounding", "None", "a WeightBound"),
        )
    },
    "shape": (
        "class Mine(LogitKernel):\n",
        SHORT,
        r"output of shape \[5, 1\] from mine:order=1/pairs; expected \[5, 3\]; mend the form",
    ),
}


@pytest.mark.parametrize(("old", "new", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_formula_that_breaks_is_a_cell_with_a_reason(
    old: str, new: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, out = written(tmp_path, (old, new)), tmp_path / "run.sqlite"
    given = ("--mechanism", own, "--mechanisms", "mine:order=1,softmax/softmax", "--out", out)
    code, _, said = run(capsys, "sweep", *SMALL, *given)
    assert (code, said.count("\n")) == (1, 2)
    assert said.startswith("attnproof: normal:d=3,n=5,std=1,seed=0: mine:order=1/pairs: ")
    with RunFile(out) as run_file:
        found = {record.mechanism: record for _, record, _ in run_file.records()}
    assert found["softmax"].status == Status.OK
    assert found["mine"].status == Status.FAILED
    assert found["mine"].reason in said
    assert re.match(reason, found["mine"].reason), found["mine"].reason
    assert "\n" not in found["mine"].reason


def test_orders_that_a_mechanism_does_not_take_are_left_out(tmp_path: Path) -> None:
    (plan,) = known((written(tmp_path),)).plans(["mine"])
    swept = [variant.member["order"] for variant in plan.variants({"order": range(7)})]
    assert swept == [1, 3, 5]
    with pytest.raises(InvalidRequestError, match="order 2; expected an integer from 1 to 7 in steps of 2"):
        list(plan.variants({"order": (2, 4)}))


def test_names_mean_the_file(tmp_path: Path) -> None:
    text = written(tmp_path)
    member = named_member(f"{text}:order=3")
    registry = known((text, text))
    assert list(registry)[-1] == "mine"
    assert member.name == "mine:order=3"
    assert member == registry.member("mine:order=3") == registry.member(f"{text}:order=3")
    assert named_variant(f"{text}:order=3/pairs").name == "mine:order=3/pairs"
    assert registry.plans(["mine", f"{text}:order=5"]) == registry.plans([f"{text}/pairs", "mine:order=5/pairs"])
    for wrong in (f"{text}/pairs", f"{text}:order=4"):
        with pytest.raises(InvalidRequestError):
            named_member(wrong)
    with pytest.raises(InvalidRequestError, match="without a form"):
        named_variant(text)
    with pytest.raises(InvalidRequestError, match="unknown mechanism"):
        known().member(f"{text}:order=3")
    with pytest.raises(InvalidRequestError, match=r"other\.py:MINE with a mechanism called 'mine'"):
        known((text, written(tmp_path, name="other.py")))


def test_a_mechanism_that_was_only_imported_stays_where_it_is(tmp_path: Path) -> None:
    elu = known().mechanism("elu")
    before = elu.origin
    text = written(tmp_path, ("MINE = Mine()", "from verify.mechanisms.elu import ELU as MINE"))
    with pytest.raises(InvalidRequestError, match="called 'elu'; expected a name that is not taken"):
        known((text,))
    assert elu.origin == before


def test_a_frozen_dataclass_is_a_mechanism(tmp_path: Path) -> None:
    head = "from dataclasses import dataclass\nfrom verify.arguments"
    dataclass = "@dataclass(frozen=True)\nclass Mine(LogitKernel):\n    shift: int = 64"
    changes = [("from verify.arguments", head), ("class Mine(LogitKernel):", dataclass), ("/ 64", "/ self.shift")]
    own = named_member(written(tmp_path, *changes))
    exact, same = (reference(INPUT.load(), 30, member) for member in (own, written(tmp_path, name="same.py")))
    np.testing.assert_array_equal(exact.value, same.value)
    text = written(tmp_path, *changes, ("frozen=True", ""), name="thawed.py")
    with pytest.raises(InvalidRequestError, match="without a hash"):
        known((text,))


def test_what_is_written_runs_whatever_was_compiled_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Python takes bytecode of the same size and second for that of the file
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    values = []
    for divisor in (64, 32):
        text = written(tmp_path, ("/ 64", f"/ {divisor}"))
        os.utime(tmp_path / "mine.py", (1e9, 1e9))
        values.append(reference(INPUT.load(), 30, text).value)
    assert (values[0] != values[1]).any()
    assert not (tmp_path / "__pycache__").exists()


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with worker_pool(1) as executor:
        yield executor


def member_there(member: Member) -> tuple[str, str, int]:
    return member.name, type(member.mechanism).__module__, os.getpid()


def test_a_worker_finds_the_file_again(tmp_path: Path, pool: Executor) -> None:
    member = named_member(f"{written(tmp_path)}:order=3")
    name, module, process = submitted(pool, member_there, member).result()
    assert (name, module) == (member.name, type(member.mechanism).__module__)
    assert process != os.getpid()
    there, here = (reference(INPUT.load(), 40, member, executor=executor) for executor in (pool, None))
    np.testing.assert_array_equal(there.balls.mantissa, here.balls.mantissa)


@pytest.mark.parametrize(
    ("new", "message"), [("/ 32", "changed meanwhile; expected the same"), (None, "cannot be read")]
)
def test_a_file_that_changes_on_the_way_is_refused(
    new: str | None, message: str, tmp_path: Path, pool: Executor
) -> None:
    member = named_member(written(tmp_path))
    (tmp_path / "mine.py").unlink() if new is None else written(tmp_path, ("/ 64", new))
    with pytest.raises(InvalidRequestError, match=rf"mine\.py,? .*{message}"):
        reference(INPUT.load(), 30, member, executor=pool)
    assert submitted(pool, os.getpid).result() != os.getpid()  # the worker lives


def test_what_cannot_be_sent_is_an_error_of_the_call(pool: Executor) -> None:
    assert "pickle" in str(submitted(pool, lambda: 3).exception())


def swept(out: Path, own: str, executor: type[InProcessExecutor] | None, change: Path | None = None) -> list[Record]:
    plans = tuple(known((own,)).plans(["mine:order=1", "softmax/softmax"]))

    def progress(done: int, total: int, label: str) -> None:
        if not done and change is not None:
            written(change, ("/ 64", "/ 32"))

    run_sweep(
        SweepSpec((INPUT,), plans, (), ("float64",)),
        lambda: RunFile(out, write=True),
        executor or (lambda: worker_pool(1)),
        started="now",
        command="test",
        progress=progress,
    )
    with RunFile(out) as run_file:
        return [record for _, record, _ in run_file.records()]


def test_a_file_that_changes_during_a_sweep_leaves_cells_to_be_measured_again(tmp_path: Path) -> None:
    own, out = written(tmp_path), tmp_path / "run.sqlite"
    for record in swept(out, own, None, change=tmp_path):
        assert record.status == Status.CRASHED
        assert re.match(r"InvalidRequestError: .*mine\.py, which changed meanwhile; expected the same", record.reason)
    found = swept(out, own, None)
    assert sorted((record.mechanism, record.status) for record in found) == [
        ("mine", "crashed"),  # what is there no more
        ("mine", "ok"),
        ("softmax", "ok"),
    ]


def test_a_sweep_in_this_process_measures_what_was_loaded(tmp_path: Path) -> None:
    own, out = written(tmp_path), tmp_path / "run.sqlite"
    swept(out, own, InProcessExecutor, change=tmp_path)
    written(tmp_path)
    first = swept(out, own, InProcessExecutor)
    assert len(first) == 2  # measured under the key of what was loaded
    written(tmp_path, ("/ 64", "/ 32"))
    both = [record for record in swept(out, own, InProcessExecutor) if record.mechanism == "mine"]
    assert len({record.errors["formula"].rms for record in both}) == len(both) == 2
