"""What must hold of any attention function, whatever its numbers are: order, companions and NaN change nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from verify.check.checking import CaseResult, Subject, held
from verify.check.judgement import Judgement, Standard, Verdict, judged
from verify.check.problems import Kit
from verify.numbers.arrays import BoolArray, Float64Array
from verify.problem import Problem
from verify.problem.selection import of_rows

# What a property finds: in words what is wrong, empty if nothing is, and the judgement if numbers were compared.
Found = tuple[str, Judgement | None]


@dataclass(frozen=True)
class Property:
    """Something that must hold.

    needs: what a function has to take, as of a case.  of: looks at a function and what it is held against.
    """

    name: str
    reason: str
    of: Callable[[Subject, Standard], Found]
    needs: tuple[str, ...] = ()


def property_result(subject: Subject, own: Property) -> CaseResult:
    """Return what becomes of a property, on one N(0, 1) problem."""
    problem = Kit(subject.interface, subject.arithmetic, 1).random(24, 24, 32)
    refusal = subject.member.mechanism.refusal(problem)
    lacking = ", ".join(need for need in own.needs if not subject.interface.takes(need))
    if refusal is not None or lacking:
        text = str(refusal) if refusal is not None else f"the function does not take {lacking}"
        return CaseResult(own.name, own.reason, Verdict.LEFT_OUT, text)
    start = perf_counter()
    text, judgement = own.of(subject, held(problem, subject.member, subject.arithmetic))
    verdict = Verdict.FAILED if text else Verdict.PASSED
    return CaseResult(own.name, own.reason, verdict, text, judgement, perf_counter() - start, tells=False)


def _judged(subject: Subject, own: Standard, problem: Problem, undo: Callable[[Float64Array], Float64Array]) -> Found:
    """Return what is wrong with an output that has to be that of the plain problem, once something is undone."""
    output, returned = subject.output(problem)
    if output is None:
        return returned.failure, None
    judgement = judged(own, undo(output))
    return (judgement.reason if judgement.verdict == Verdict.FAILED else ""), judgement


def _repeated(subject: Subject, own: Standard) -> Found:
    first, returned = subject.output(own.problem)
    if first is None:
        return returned.failure, None
    for _ in range(2):
        again, returned = subject.output(own.problem)
        if again is None:
            return returned.failure, None
        if first.tobytes() != again.tobytes():
            share = np.count_nonzero(~((first == again) | (np.isnan(first) & np.isnan(again))))
            return f"{share} of {first.size} elements differ from call to call", None
    return "", None


def _permuted(subject: Subject, own: Standard) -> Found:
    problem = own.problem
    order = np.random.default_rng(1502).permutation(problem.keys)
    return _judged(subject, own, problem.but(k=problem.k[..., order, :], v=problem.v[..., order, :]), lambda y: y)


def _in_parts(subject: Subject, own: Standard) -> Found:
    """Queries are worked out apart: what stands beside them changes nothing."""
    problem = own.problem
    cut = problem.queries // 3
    parts = []
    for rows in (range(cut), range(cut, problem.queries)):
        output, returned = subject.output(of_rows(problem, list(rows)))
        if output is None:
            return returned.failure, None
        parts.append(output)
    judgement = judged(own, np.concatenate(parts, axis=-2))
    return (judgement.reason if judgement.verdict == Verdict.FAILED else ""), judgement


def _heads_apart(subject: Subject, own: Standard) -> Found:
    """Heads are worked out apart: in another order they give the same."""
    problem = own.problem
    arrays = {label: getattr(problem, label)[..., ::-1, :, :] for label in "qkv"}
    return _judged(subject, own, problem.but(**arrays), lambda y: y[..., ::-1, :, :])


def _with_nan(subject: Subject, own: Standard, label: str, place: tuple[int, ...]) -> tuple[Float64Array | None, str]:
    """Return the output with one NaN in the call: a problem has none."""
    call = subject.interface.call(own.problem, subject.arithmetic.inputs)
    arrays = {label: np.array(getattr(own.problem, label)) for label in "qkv"}
    arrays[label][place] = np.nan
    changed = call.but(*(subject.interface.laid_out(subject.arithmetic.inputs.rounded(arrays[name])) for name in "qkv"))
    output, returned = subject.answer(changed, own.problem)
    return output, returned.failure


def _nan_stays(label: str) -> Callable[[Subject, Standard], Found]:
    def of(subject: Subject, own: Standard) -> Found:
        shape = own.problem.q.shape
        head = tuple(0 for _ in shape[:-2])
        row = own.problem.queries // 2
        output, failure = _with_nan(subject, own, label, (*head, row, 1))
        if output is None:
            return failure, None
        touched: BoolArray = np.zeros(own.problem.output_shape[:-1], dtype=np.bool_)
        if label == "q":
            touched[(*head, row)] = True
        else:
            sees = next(own.problem.each_head()).attended()[:, row]
            touched[head] = sees
        lost: BoolArray = np.asarray(np.isnan(output).any(axis=-1))
        if not lost[touched].all():
            return f"a NaN in {label} does not show in {int((~lost[touched]).sum())} rows that depend on it", None
        # rows of the same head that do not see the key are left open: a weight of 0 times NaN is NaN in most libraries
        apart = np.ones(touched.shape, dtype=np.bool_)
        apart[head] = label == "q"
        apart &= ~touched
        if not np.isfinite(output[apart]).all():
            return f"a NaN in {label} spreads to {int(lost[apart].sum())} rows that do not depend on it", None
        return "", None

    return of


PROPERTIES = (
    Property("same bits again", "three calls with the same arrays", _repeated),
    Property("keys in another order", "the order of keys means nothing", _permuted, ("full",)),
    Property("queries in parts", "queries do not depend on each other", _in_parts, ("full",)),
    Property("heads in another order", "heads do not depend on each other", _heads_apart, ("heads",)),
    Property("NaN in a query", "its row is NaN, and no other", _nan_stays("q")),
    Property("NaN in a key", "rows that see it are NaN, and no other head", _nan_stays("k")),
    Property("NaN in a value", "rows that see it are NaN, and no other head", _nan_stays("v")),
)
