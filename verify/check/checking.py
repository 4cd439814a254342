"""A function against exact values, case by case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.attention.contract import Member
from verify.check.diagnosis import Explanation
from verify.check.interface import Interface
from verify.check.judgement import Judgement, Standard, Verdict, certified_standard, judged
from verify.check.suite import Case, judged_part, missing
from verify.errors import AttnproofError
from verify.isolated.isolation import Call, Function, Returned
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.truth import reference

# What outputs of the last problems are held against, the latest last: whoever checks many functions asks for the same
# problems again.  As many as have so many numbers in their keys.
_KEPT: dict[tuple[Any, ...], Standard] = {}
_MOST_KEPT = 1 << 25

# Of exact values: beyond float64 and what rounding of sums in it may hide.
DIGITS = 20


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What became of a case.

    text: in words, where it is not passed.  judgement: where there was an output of the right shape.  problem, output:
    what the function was called with, and what it returned, if that can be compared.  rows: the queries that were
    judged; exact: their exact values.  explanations: mistakes that would give this output.  late: it took too long.
    tells: whether zeros and the mean of the values are wrong answers, so that to pass means something.  dout: what
    gradients were asked for with.
    """

    name: str
    reason: str
    verdict: Verdict
    text: str = ""
    judgement: Judgement | None = None
    seconds: float = 0.0
    problem: Problem | None = None
    output: Float64Array | None = None
    exact: Float64Array | None = None
    rows: tuple[int, ...] = ()
    explanations: tuple[Explanation, ...] = ()
    late: bool = False
    tells: bool = True
    dout: Float64Array | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """A function, how it is called, and what it claims to compute in which arithmetic."""

    function: Function
    interface: Interface
    member: Member
    arithmetic: Arithmetic

    def output(self, problem: Problem, *, strided: bool = False) -> tuple[Float64Array | None, Returned]:
        """Return the function's output as [..., H, n_q, d_v] in float64, None where there is none to be compared."""
        return self.answer(self.interface.call(problem, self.arithmetic.inputs, strided=strided), problem)

    def answer(self, call: Call, problem: Problem) -> tuple[Float64Array | None, Returned]:
        """Return the same for a call that is as a problem's, but for its numbers."""
        returned = self.function.call(call)
        if returned.values is None:
            return None, returned
        fault = self._unlike(returned.values, returned.dtype, problem)
        if fault:
            return None, Returned(None, returned.dtype, fault, returned.seconds)
        with np.errstate(invalid="ignore"):  # a NaN that signals
            return self.interface.heads_first(returned.values).astype(np.float64), returned

    def _unlike(self, values: NDArray[np.generic], dtype: str, problem: Problem) -> str:
        shape, expected = self.interface.shape(problem), self.arithmetic.output.name
        if values.shape != shape:
            return f"its output has the shape {list(values.shape)}; expected {list(shape)}"
        return "" if dtype == expected else f"its output is of type {dtype}; expected {expected}"


# Says what becomes of a case with its problem.
Examine = Callable[[Subject, Case, Problem], CaseResult]


def result_of(subject: Subject, case: Case, examine: Examine) -> CaseResult:
    """Return what becomes of a case; examine: `examined`, or `verify.check.backward.gradients_result`."""
    lacking = missing(case, subject.interface)
    if lacking:
        return CaseResult(case.name, case.reason, Verdict.LEFT_OUT, f"the function does not take {lacking}")
    problem = case.problem(subject.interface, subject.arithmetic)
    refusal = subject.member.mechanism.refusal(problem)
    if refusal is not None:
        return CaseResult(case.name, case.reason, Verdict.LEFT_OUT, str(refusal))
    return examine(subject, case, problem)


def examined(subject: Subject, case: Case, problem: Problem) -> CaseResult:
    """Return what becomes of a case with its problem; InvalidRequestError for one that the function cannot be asked."""
    subject.interface.require(problem, subject.arithmetic.inputs)
    rows = case.rows(problem)
    start = perf_counter()

    def result(verdict: Verdict, text: str, judgement: Judgement | None = None) -> CaseResult:
        seconds = perf_counter() - start
        return CaseResult(
            *(case.name, case.reason, verdict, text, judgement, seconds, problem, output, exact, rows),
            tells=case.trivial,
        )

    exact = None
    output, returned = subject.output(problem, strided=case.strided)
    if output is None:
        return replace(result(Verdict.FAILED, returned.failure), late=returned.late)
    try:
        own = held(judged_part(problem, rows), subject.member, subject.arithmetic, trivial=case.trivial)
    except AttnproofError as error:
        return result(Verdict.LEFT_OUT, str(error))
    found = output[..., list(rows), :]
    judgement, exact = judged(own, found), own.exact.value
    idle = found[~own.problem.attended_rows]
    strange = np.isfinite(idle) & (idle != 0.0)
    if judgement.verdict != Verdict.FAILED and strange.any():
        text = f"{int(strange.any(axis=-1).sum())} rows that see no key are neither 0 nor NaN"
        return result(Verdict.FAILED, text, judgement)
    return result(judgement.verdict, judgement.reason, judgement)


def held(problem: Problem, member: Member, arithmetic: Arithmetic, *, trivial: bool = True) -> Standard:
    """Return what outputs of a problem are held against, its exact values among it."""
    key = (problem.digest, member, arithmetic.name, trivial)
    kept = _KEPT.pop(key, None) or certified_standard(
        reference(problem, DIGITS, member), arithmetic, weigh_trivial=trivial
    )
    _KEPT[key] = kept
    while len(_KEPT) > 1 and sum(own.problem.k.size for own in _KEPT.values()) > _MOST_KEPT:
        del _KEPT[next(iter(_KEPT))]
    return kept
