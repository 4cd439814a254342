"""Every mechanism that there is conforms, and one that is right but for a planted fault is rejected by its name.

Time of one core: about 20 s for the registry, most of it for polynomials in four forms, and half a second for a fault.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.planted import PLANTED, planted
from tests.planting import TWINS, Bell, Changes, Rectified
from verify.arguments import Flag, Real, Whole
from verify.attention.contract import Mechanism, Member
from verify.attention.cost import Cost
from verify.conformance.cases import CASES, LONGER, random_cells
from verify.conformance.mechanism import CHECKS, ELSEWHERE, findings_of
from verify.conformance.subject import members_of
from verify.errors import InvalidRequestError, NonconformingError
from verify.mechanisms.registry import known
from verify.mechanisms.taylor.mechanism import TAYLOR
from verify.numbers.arithmetic import ARITHMETICS
from verify.problem import Problem
from verify.testing import check_mechanism

# Of what takes long: in make test, and the others in make campaigns.
MEMBERS: dict[str, list[Member]] = {
    "taylor": [TAYLOR.member(order=order) for order in (2, 3)],
    "favor": [known().mechanism("favor").member(features=3)],
    "power": [known().mechanism("power").member(degree=2)],
}
OTHERS: dict[str, list[Member]] = {
    "taylor": [TAYLOR.member(order=order) for order in (0, 1, 7)],
    "favor": [known().mechanism("favor").member(features=1)],
    "power": [known().mechanism("power").member(degree=6)],
}

# Of problems drawn at random, where a fault is planted: three in each arithmetic.
FEW = 21


@pytest.mark.parametrize("name", list(known()))
def test_every_mechanism_conforms(name: str) -> None:
    check_mechanism(known().mechanism(name), members=MEMBERS.get(name))


@pytest.mark.campaign
@pytest.mark.parametrize("name", list(OTHERS))
def test_other_members_conform(name: str) -> None:
    check_mechanism(known().mechanism(name), members=OTHERS[name])


@pytest.mark.campaign
@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: str(twin.name))
def test_what_faults_are_planted_in_is_right_without(twin: type[Mechanism]) -> None:
    check_mechanism(twin(), cells=FEW)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: str(twin.name))
def test_forms_that_are_right_conform_without_their_bounds(twin: type[Mechanism]) -> None:
    forms = tuple(replace(form, rounding=None) for form in twin.forms)
    mechanism: Any = type("Unbounded", (twin,), {"forms": forms})()
    checks = ("forms", "arithmetics", "states")
    few = members_of(mechanism)[:2]
    assert [finding.difference for finding in findings_of(mechanism, members=few, only=checks)] == [None] * 4


MINE = """
from verify.families import FeatureKernel

class Mine(FeatureKernel):
    name = "mine"
    description = "exponentials of the components"
    source = "a file"

    def features(self, f, x, scale, member):
        return [f.exp(c) for c in x]

MINE = Mine()
"""


def test_a_mechanism_in_a_file(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(MINE)
    check_mechanism(known((f"{right}:MINE",)).mechanism("mine"), cells=FEW, processes=True)
    wrong.write_text(MINE.replace("for c in x", "for c in x[1:]"))
    with pytest.raises(
        NonconformingError, match="3 features of mine at head size 4; expected 4, as feature_count says"
    ):
        check_mechanism(known((f"{wrong}:MINE",)).mechanism("mine"), cells=FEW)


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_faults_are_rejected_by_name(fault: str) -> None:
    plan = PLANTED[fault]
    only = {plan.check} - {"declaration"}
    findings = findings_of(planted(fault), cells=FEW, processes=plan.check in ELSEWHERE, only=only)
    (said,) = [finding.difference for finding in findings if finding.name == plan.check]
    assert said is not None
    assert re.search(plan.says, said)
    assert "\n" not in said


@pytest.mark.parametrize(
    "fault",
    ["a formula that is softmax's, half entered", "a formula that raises", "a cache of NaN", "an answer of NaN"],
)
def test_whatever_fails_is_said_in_a_line(fault: str) -> None:
    with pytest.raises(NonconformingError) as caught:
        check_mechanism(planted(fault), cells=FEW)
    first, *lines = str(caught.value).splitlines()
    assert first == f"mechanism {PLANTED[fault].base.name!r} fails {len(lines)} check{'s' * (len(lines) > 1)}:"
    assert caught.value.failures == tuple(lines)
    assert any(line.startswith(f"{PLANTED[fault].check}: ") for line in lines)


def test_a_refusal_of_another_kind_is_rejected() -> None:
    mechanism: Any = type("Wordy", (Bell,), {"unservable": lambda self, problem: "no"})()
    _, finding = findings_of(mechanism, only={"refused problems"})
    assert str(finding.difference).startswith("unservable() gives str for ")


def test_every_check_has_a_fault_that_it_rejects() -> None:
    assert {plan.check for plan in PLANTED.values()} == {"declaration", *CHECKS, *ELSEWHERE}


NOTHING: Any = None

DECLARATIONS: list[tuple[Changes, str]] = [
    ({"description": " "}, "without description; expected text"),
    ({"source": "a\nb"}, "expected one line of text"),
    ({"formula_error": ""}, "with the formula error ''; expected truncation or deviation"),
    ({"axis": "order"}, "with the axis 'order'; expected one of its parameters"),
    (
        {"axis": "x", "parameters": {"x": Real(1.0, 0.0, 2.0)}},
        "with the axis 'x'; expected one of its parameters that are Whole",
    ),
    ({"proposed": 3}, "with 3 proposed; expected an axis"),
    ({"axis": "x", "parameters": {"x": Whole(1, 1, 9)}, "proposed": 10}, "with x 10 proposed; expected an integer"),
    ({"axis": "x", "parameters": {"x": Whole(1, 1)}, "searched": lambda self, largest: [2, 1]}, "rising"),
    ({"parameters": {"x y": Flag()}}, "a parameter called 'x y'; expected a name as in Python"),
    ({"parameters": {"x": 3}}, "with x of type int; expected Whole, Real, Count, Choice or Flag"),
    ({"forms": ()}, "expected at least one, each name once"),
    (
        {"forms": (replace(Bell.forms[0], name="a/b"),)},
        "with forms .*; expected at least one, each name once, of letters",
    ),
    ({"forms": (replace(Bell.forms[0], description=""),)}, "description ''; expected one line"),
    ({"forms": (replace(Bell.forms[0], cost=NOTHING),)}, "cost None; expected a function"),
    ({"forms": (replace(Bell.forms[0], limits=("time",)),)}, "limit 'time'; expected one of memory_limit"),
    ({"forms": (replace(Bell.forms[0], options={"n": Whole(0, 1)}),)}, "option 'n': .* expected an integer"),
    ({"descriptor": lambda self: {"name": self}}, "not JSON serializable"),
    ({"descriptor": lambda self: {"name": "bell"}}, "without what reports ask for"),
]


@pytest.mark.parametrize(("changed", "says"), DECLARATIONS, ids=[says for _, says in DECLARATIONS])
def test_wrong_declarations(changed: Changes, says: str) -> None:
    mechanism: Any = type("Wrong", (Bell,), dict(changed))()
    with pytest.raises(NonconformingError, match=f"fails 1 check:\ndeclaration: .*{says}"):
        check_mechanism(mechanism)


def test_what_is_no_mechanism_at_all() -> None:
    wrong: Any = "softmax"
    with pytest.raises(NonconformingError, match="of type str; expected a mechanism"):
        check_mechanism(wrong)


def test_requests_that_name_what_there_is_not() -> None:
    with pytest.raises(
        InvalidRequestError, match="unknown check 'bounds'; expected one of names, exact values, weights"
    ):
        list(findings_of(Bell(), only=["bounds"]))
    for members, given in (([], "no members"), ([TAYLOR.member(order=1)], "members taylor:order=1")):
        with pytest.raises(NonconformingError, match=f"members: InvalidRequestError: {given}; expected some of bell"):
            check_mechanism(Bell(), members=members)


def test_findings_say_what_was_checked() -> None:
    findings = list(findings_of(Bell(), cells=7))
    assert [finding.name for finding in findings] == ["declaration", *CHECKS]
    assert all(finding.holds and finding.statement and finding.source for finding in findings)
    scope = f"checked for bell; {len(CASES)} cases, {len(LONGER)} longer, 7 random"
    left_open = {finding.name: finding.scope.removeprefix(scope) for finding in findings[1:]}
    assert left_open.pop("costs") == "; compared with nothing: state elements of pairs"
    assert set(left_open.values()) == {""}


def test_costs_that_are_compared_with_nothing() -> None:
    def left_open(mechanism: Mechanism) -> str:
        (finding,) = [finding for finding in findings_of(mechanism, only=["costs"]) if finding.name == "costs"]
        return finding.scope.partition("; compared with nothing: ")[2]

    softmax, taylor = (known().mechanism(name) for name in ("softmax", "taylor"))
    assert left_open(softmax).startswith("state elements and FLOPs, which are published, of softmax; ")
    assert "FLOPs, which are published, of packed" in left_open(taylor)
    assert left_open(Rectified()) == "state elements of pairs"

    def fixed(problem: Problem, arithmetic: Any, member: Member) -> Any:
        return Bell.forms[0].compute(problem, ARITHMETICS["float64"], member)

    uncounted = replace(
        Bell.forms[0], compute=fixed, cost=lambda problem, member: Cost(None, problem.keys, problem.keys)
    )
    opaque: Any = type("Opaque", (Bell,), {"forms": (uncounted,)})()
    assert left_open(opaque) == "state elements and FLOPs, as it does not run on numbers that count, of pairs"


def test_members_that_are_examined() -> None:
    def names(mechanism: str) -> list[str]:
        return [member.name for member in members_of(known().mechanism(mechanism))]

    assert names("softmax") == ["softmax"]
    assert names("taylor") == [f"taylor:order={order}" for order in (0, 1, 2, 6, 3)]
    assert names("favor") == [
        f"favor:features={f},seed={s}" for f, s in ((1, 0), (2, 0), (4, 0), (8, 0), (1, 1), (2, 1))
    ]
    assert names("power") == [f"power:degree={degree}" for degree in (2, 4, 6, 8)]


def test_the_error_crosses_processes() -> None:
    error = NonconformingError("mine", ("forms: one", "costs: two"))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # what was pickled just now
    assert str(again) == str(error) == "mechanism 'mine' fails 2 checks:\nforms: one\ncosts: two"


def test_cases_have_reasons_and_cells_are_seeded() -> None:
    every = [*CASES, *LONGER]
    assert len({case.name for case in every}) == len({case.reason for case in every}) == len(every)
    assert all(case.problem.queries * case.problem.keys <= 40 for case in CASES)
    cells = list(random_cells(2 * len(ARITHMETICS)))
    assert [arithmetic for _, arithmetic in cells] == 2 * list(ARITHMETICS.values())
    assert [problem.digest for problem, _ in cells] == [problem.digest for problem, _ in random_cells(len(cells))]
    assert len({problem.digest for problem, _ in cells}) == len(cells)
    assert all(problem.rounded(arithmetic.inputs) is problem for problem, arithmetic in cells)
