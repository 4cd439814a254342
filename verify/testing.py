"""Tests for mechanisms and attention functions of your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import SkipTest

from verify.attention.contract import Mechanism, Member
from verify.check.backward import gradients_result, require_gradients
from verify.check.checking import CaseResult, Examine, Subject, examined, result_of
from verify.check.foreign.judging import chosen, foreign_result
from verify.check.foreign.posed import ForeignCase, How
from verify.check.foreign.reading import foreign_cases
from verify.check.interface import interface
from verify.check.judgement import Verdict
from verify.check.properties import PROPERTIES, Property, property_result
from verify.check.run import explained
from verify.check.suite import Case, cases_of
from verify.conformance.mechanism import CELLS, findings_of
from verify.errors import NonconformingError
from verify.isolated.in_process import InProcess
from verify.mechanisms.registry import CONVENTIONAL, named_member
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.problem import Problem
from verify.proofs.finding import Finding


def check_mechanism(
    mechanism: Mechanism,
    *,
    members: Sequence[Member] | None = None,
    cells: int = CELLS,
    processes: bool = False,
) -> tuple[Finding, ...]:
    """Return what was checked and on what; NonconformingError, a line for each check that fails, of a wrong mechanism.

    Its accounts of exact values agree; every form computes its own formula, under its bound; costs are what is counted;
    states merge, save and load; what cannot be done is refused.  members: those to examine, by default a few with small
    parameters.  cells: problems drawn at random for bounds.  processes: whether to spawn one, to see that members work
    there.

        def test_mine():
            check_mechanism(MINE)
            check_mechanism(MINE, members=[MINE.member(order=9)], cells=1000)

    A finding's scope says what it leaves open, such as costs that are compared with nothing.
    """
    findings = tuple(findings_of(mechanism, members=members, cells=cells, processes=processes))
    failures = [f"{finding.name}: {finding.difference}" for finding in findings if not finding.holds]
    if failures:
        raise NonconformingError(str(getattr(mechanism, "name", mechanism)), tuple(failures))
    return findings


@dataclass(frozen=True)
class AttentionCase:
    """A case to put to an attention function.

    @pytest.mark.parametrize("case", cases("quick"), ids=str)
    def test_mine(case):
        case.check(attention)
    """

    case: Case | Property | ForeignCase

    def __str__(self) -> str:
        return self.case.name

    @property
    def reason(self) -> str:
        """Why the case is there."""
        return self.case.reason

    def check(self, function: Callable[..., Any], **how: Any) -> None:
        """Check a function as `assert_attention_close` does; AssertionError if the case fails.

        Raises SkipTest, which pytest and unittest report as skipped, with the reason, if the case cannot be decided, or
        the function does not take what it needs.
        """
        result = self._result(function, **how)
        if result.verdict != Verdict.PASSED:
            raise SkipTest(f"{result.verdict}: {result.text}")

    def verdict(self, function: Callable[..., Any], **how: Any) -> Verdict:
        """Return what becomes of it: passed, undecidable or left out; AssertionError if the case fails."""
        return self._result(function, **how).verdict

    def _result(self, function: Callable[..., Any], **how: Any) -> CaseResult:
        result = _result(self.case, function, **how)
        _require_none_failed([result])
        return result


def cases(suite: str | Path = "quick", *, left_out: Sequence[str] = ()) -> list[AttentionCase]:
    """Return the cases of a suite, quick, full, real, sharp or long, without those named; and, of the first two, what
    must hold whatever the numbers are.

    Or those of a path, as `attnproof check --cases` has them: "DEFINITION.json,WORKLOADS.jsonl" of FlashInfer-Bench, or
    a folder of ONNX node tests.  Raises InvalidRequestError for a suite or a case that does not exist, and for files
    that are not understood.
    """
    text = str(suite)
    if isinstance(suite, Path) or "/" in text or Path(text).suffix:
        return [AttentionCase(case) for case in chosen(foreign_cases(text.split(",")), (), left_out)]
    properties = PROPERTIES if text in ("quick", "full") else ()
    return [AttentionCase(case) for case in (*cases_of(text, left_out), *properties)]


def assert_attention_close(
    function: Callable[..., Any], problem: Problem | None = None, *, suite: str = "quick", **how: Any
) -> None:
    """Require that a function computes attention as a careful computation in its arithmetic would.

    Every row is compared with exact values (`verify.check.judgement`); no tolerance grows with the number of keys.
    problem: the one to try, by default those of a suite.  how: mechanism, arithmetic "float32", layout "bhsd",
    framework "numpy", device "cpu", causal, grouped, scale, backward and takes, as in {"mask": "attn_mask"}, as
    `attnproof check` has them.

    The function is called in this process, with the names of scaled_dot_product_attention.  Raises AssertionError, a
    line for each case that failed, and where nothing could tell right from wrong; InvalidRequestError for a function
    that cannot be called so.

        assert_attention_close(attention, arithmetic="float64")
    """
    if problem is not None:
        subject, examine = _subject(function, **how)
        if subject.arithmetic.inputs.name != "float64":
            problem = problem.rounded(subject.arithmetic.inputs)
        case = Case(problem.name, "a problem of one's own", (), lambda kit: problem)
        _require_passed([explained(examine(subject, case, problem), subject.member, subject.arithmetic)])
        return
    _require_passed([_result(own.case, function, **how) for own in cases(suite)])


def _result(case: Case | Property | ForeignCase, function: Callable[..., Any], **how: Any) -> CaseResult:
    if isinstance(case, ForeignCase):
        return _foreign(case, function, **how)
    subject, examine = _subject(function, **how)
    if isinstance(case, Case):
        return explained(result_of(subject, case, examine), subject.member, subject.arithmetic)
    if examine is gradients_result:
        return CaseResult(case.name, case.reason, Verdict.LEFT_OUT, "it is about outputs")
    return property_result(subject, case)


def _foreign(
    case: ForeignCase,
    function: Callable[..., Any],
    *,
    mechanism: str | Member = CONVENTIONAL,
    arithmetic: str | Arithmetic | None = None,
    framework: str = "numpy",
    device: str = "cpu",
    backward: bool = False,
    **how: Any,
) -> CaseResult:
    if backward:
        return CaseResult(case.name, case.reason, Verdict.LEFT_OUT, "it is about outputs")
    own = InProcess(function, framework, device)
    kind = named_arithmetic(case.arithmetic if arithmetic is None else arithmetic)
    member = named_member(mechanism)
    return explained(foreign_result(own, case, How(own.parameters, **how), member, kind), member, kind)


def _subject(
    function: Callable[..., Any],
    *,
    mechanism: str | Member = CONVENTIONAL,
    arithmetic: str | Arithmetic = "float32",
    layout: str = "bhsd",
    framework: str = "numpy",
    device: str = "cpu",
    causal: bool = False,
    grouped: bool = False,
    scale: float | None = None,
    takes: Mapping[str, str] | None = None,
    backward: bool = False,
) -> tuple[Subject, Examine]:
    """Return a function as it is asked, and what is looked at."""
    own, member = InProcess(function, framework, device), named_member(mechanism)
    how = interface(own.parameters, layout, causal=causal, grouped=grouped, scale=scale, takes=takes, backward=backward)
    if backward:
        require_gradients(member, how, framework)
    subject = Subject(own, how, member, named_arithmetic(arithmetic))
    return subject, gradients_result if backward else examined


def _require_none_failed(results: Sequence[CaseResult]) -> None:
    failed = [
        "; ".join([f"{result.name}: {result.text}", *(f"likely: {one.words}" for one in result.explanations[:1])])
        for result in results
        if result.verdict == Verdict.FAILED
    ]
    if failed:
        raise AssertionError("\n".join(failed))


def _require_passed(results: Sequence[CaseResult]) -> None:
    """Raise AssertionError for cases that failed, or if none that passed tells right from wrong."""
    _require_none_failed(results)
    if not any(result.verdict == Verdict.PASSED and result.tells for result in results):
        reasons = [f"{result.name}: {result.text}" for result in results if result.text]
        raise AssertionError("\n".join(["nothing tells right from wrong", *reasons]))
