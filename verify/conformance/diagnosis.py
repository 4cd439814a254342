"""What a wrong output is instead: another formula, another member, the same without its mask, nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.arguments import Whole
from verify.attention.contract import Member
from verify.conformance.subject import Subject
from verify.mechanisms.registry import baseline, null_prediction
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.truth import Reference

# An output is taken for another's if it is this much nearer to that than to what it should be.
NEARER = 1e-3

# By how much two float64 answers to one question differ at most, relative to the largest, for this purpose.
ALIKE = 1e-9


def like_softmax(values: Float64Array, softmax: Reference) -> bool:
    """Say whether values are those of softmax, as far as float64 tells."""
    with np.errstate(all="ignore"):
        size = float(np.abs(softmax.value).max(initial=0.0))
        return bool(values.size) and bool((np.abs(values - softmax.value) <= ALIKE * size).all())


def resemblance(subject: Subject, problem: Problem, member: Member, computed: NDArray[Any]) -> str:
    """Say what a wrong output looks like, as the end of a sentence; empty if nothing comes to mind."""
    values = computed.astype(np.float64)
    exact = subject.exact(problem, member)
    if np.isnan(values).all():
        return "; all of it is NaN"
    if not values.any():
        return "; all of it is zero"
    if exact is None:
        return ""
    defined = np.isfinite(exact.value)
    off = _distance(values[defined], exact.value[defined])
    for what, other in _candidates(subject, problem, member):
        try:
            found = other()
        except Exception:  # a guess that fails says nothing
            continue
        if found is not None and _distance(values[defined], found.value[defined]) <= NEARER * off:
            return f"; it is what {what} gives"
    return ""


def _distance(one: Float64Array, other: Float64Array) -> float:
    with np.errstate(all="ignore"):
        found = np.abs(one - other)
    return float(np.where(np.isnan(found), np.inf, found).max(initial=0.0))


def _candidates(
    subject: Subject, problem: Problem, member: Member
) -> Iterator[tuple[str, Callable[[], Reference | None]]]:
    for other in (baseline().member, *_neighbours(member), null_prediction()):
        if other != member:
            yield other.name, lambda other=other: subject.exact(problem, other)  # type: ignore[misc]  # bound now
    if problem.mask is not None:
        seen = problem.but(mask=None)
        yield "the same without its mask", lambda: subject.exact(seen, member)
    if problem.causal:
        everything = problem.but(causal=False)
        yield "the same with what comes later", lambda: subject.exact(everything, member)


def _neighbours(member: Member) -> Iterator[Member]:
    """Yield the members before and after along the axis."""
    mechanism = member.mechanism
    parameter = mechanism.parameters.get(mechanism.axis or "")
    if mechanism.axis is None or not isinstance(parameter, Whole):
        return
    for step in (-parameter.step, parameter.step):
        value = member[mechanism.axis] + step
        if value >= parameter.least and (parameter.most is None or value <= parameter.most):
            yield mechanism.member(**(dict(member.parameters) | {mechanism.axis: value}))
