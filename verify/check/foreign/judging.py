"""A function on cases of other suites: called as they say, judged as on ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from verify.attention.contract import Member
from verify.check.checking import CaseResult, Subject, examined, held
from verify.check.foreign.log_sums import NATURAL, log_sum_standard
from verify.check.foreign.posed import ForeignCase, How, Posed
from verify.check.judgement import Verdict, judged
from verify.check.run import Asked, Checked, Progress, diagnosed, in_turn
from verify.check.suite import Case
from verify.errors import InvalidRequestError, unknown
from verify.isolated.isolation import Function, Loaded
from verify.mechanisms.registry import CONVENTIONAL, named_member
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.truth import Reference


def chosen(cases: Sequence[ForeignCase], only: Sequence[str], left_out: Sequence[str] = ()) -> list[ForeignCase]:
    """Return the cases of those names, or all, without those left out; InvalidRequestError for names of none."""
    names = [case.name for case in cases]
    for name in (*only, *left_out):
        if name not in names:
            raise unknown(f"case {name!r}", name, names)
    found = [case for case in cases if case.name in (only or names) and case.name not in left_out]
    if not found:
        raise InvalidRequestError("cases of which all are left out", "one at least", "leave out fewer")
    return found


def check_cases(
    asked: Asked,
    cases: Sequence[ForeignCase],
    arithmetic: str | None = None,
    progress: Progress = lambda done, total, name: None,
) -> Checked:
    """Return what becomes of a function on cases of another suite.

    arithmetic: that in which the function is judged, by default that of the first case; cases of other formats are left
    out.  Raises InvalidRequestError for a function that cannot be loaded, or be put any of the cases to.
    """
    own = named_arithmetic(cases[0].arithmetic if arithmetic is None else arithmetic)
    member = named_member(asked.mechanism)
    with Loaded(asked.target) as function:
        how = How(function.parameters, asked.layout, asked.causal, asked.grouped, asked.scale, asked.takes)
        runs = [(case.name, "", partial(foreign_result, function, case, how, member, own)) for case in cases]
        results = list(in_turn(runs, progress))
    if all(result.verdict == Verdict.LEFT_OUT for result in results):
        raise InvalidRequestError(
            f"no case for {asked.target.text}: {results[0].text}", "a function that it can be put to", "wrap it in one"
        )
    return diagnosed(replace(asked, arithmetic=own.name), member, own, results)


def foreign_result(
    function: Function, case: ForeignCase, how: How, member: Member, arithmetic: Arithmetic
) -> CaseResult:
    """Return what becomes of a case."""

    def left_out(text: str) -> CaseResult:
        return CaseResult(case.name, "", Verdict.LEFT_OUT, text)

    known = named_arithmetic(case.arithmetic)
    if (known.inputs, known.output) != (arithmetic.inputs, arithmetic.output):
        return left_out(f"their numbers are of --arithmetic {known.name}, not {arithmetic.name}")
    if case.log_sums and member != named_member(CONVENTIONAL):
        return left_out(f"logarithms of sums of {member.name} are not judged")
    posed = case.pose(how)
    if isinstance(posed, str):
        return left_out(posed)
    refusal = member.mechanism.refusal(posed.problem)
    if refusal is not None:
        return left_out(str(refusal))
    subject = Subject(function, posed, member, arithmetic)
    if case.log_sums:
        return _placed(_log_sums(subject, case, posed), posed)
    own = Case(case.name, posed.reason, (), lambda kit: posed.problem)
    return _placed(examined(subject, own, posed.problem), posed)


def _log_sums(subject: Subject, case: ForeignCase, posed: Posed) -> CaseResult:
    """Return what becomes of logarithms of sums, which are float32 whatever the output is."""
    subject = replace(subject, arithmetic=replace(subject.arithmetic, output=named_arithmetic("float32").output))
    output, returned = subject.output(posed.problem)
    result = CaseResult(case.name, posed.reason, Verdict.FAILED, returned.failure, seconds=returned.seconds)
    if output is None:
        return replace(result, late=returned.late)
    exact = held(posed.problem, subject.member, subject.arithmetic).exact
    assert isinstance(exact, Reference), "what is held against is certified"
    own = log_sum_standard(exact, subject.arithmetic)
    judgement = judged(own, output)
    result = replace(result, verdict=judgement.verdict, text=judgement.reason, judgement=judgement)
    if judgement.verdict == Verdict.FAILED and judged(own, output / np.log(2.0)).verdict != Verdict.FAILED:
        return replace(result, text=f"{judgement.reason}; {NATURAL}")
    idle = output[~own.rows]
    if judgement.verdict != Verdict.FAILED and not (np.isneginf(idle) | np.isnan(idle)).all():
        text = "rows that see no key have logarithms other than minus infinity"
        return replace(result, verdict=Verdict.FAILED, text=text)
    return result


def _placed(result: CaseResult, posed: Posed) -> CaseResult:
    """Return a result whose worst elements are named as they stand in the function's own output."""
    if result.judgement is None:
        return result
    worst = tuple(replace(one, index=posed.place(one.index)) for one in result.judgement.worst)
    return replace(result, judgement=replace(result.judgement, worst=worst))
