"""How much is enough: the smallest value of a mechanism's axis that meets a tolerance, or none.

For Taylor attention the axis is the order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from verify.arguments import checked_positive, checked_size
from verify.attention.contract import Mechanism, Member
from verify.attention.cost import Cost
from verify.attention.variant import Variant
from verify.errors import InvalidRequestError, MechanismError, ViolatedBoundError, unknown
from verify.families.costs import conventional_flops_per_token, counts_of, first_smaller, kv_cache_size
from verify.measure.exact import require_attending
from verify.measure.logits import logit_statistics
from verify.measure.metrics import METRICS
from verify.mechanisms.registry import RECOMMENDED, opened
from verify.numbers.arithmetic import named_arithmetic
from verify.problem import Problem, require_problem
from verify.recommend.advice import Advice, Recommendation
from verify.recommend.search import (
    BATCH,
    Errors,
    HeadErrors,
    Measure,
    alone_heads,
    along,
    first_place,
    joined,
    searched,
)
from verify.truth.in_blocks import check_time

# The longest that they may be estimated to take, unless more is allowed.
SECONDS = 10.0


def recommend(
    problem: Problem,
    tolerance: float,
    *,
    mechanism: str | Mechanism = RECOMMENDED,
    metric: str = "relative",
    arithmetic: str | None = None,
    form: str | None = None,
    largest: int | None = None,
    seconds: float = SECONDS,
    max_state: int | None = None,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Recommendation:
    """Return the smallest value along a mechanism's axis that meets a tolerance on a problem.

    Without an arithmetic the error is that of the formula, and the guarantee rests on its bound alone.  With one it is
    what the form computes in it, against exact softmax on the inputs as they are, and the guarantee adds the exact
    quantisation and the bound on rounding.  form: by default the mechanism's first.  largest: the largest value tried,
    by default what the mechanism proposes.  mechanism: by name also with other parameters, as in "favor:seed=1".
    seconds: the longest that the exact values of the first members may be estimated to take.

    The largest value tried is that up to which the form's features fit into memory, if that is less.  max_state: the
    numbers that one head may hold from token to token.

    Raises InvalidRequestError for a mechanism without an axis or with it given, or of softmax itself, a tolerance that
    is not above 0, an unknown metric, arithmetic or form, a largest value that the axis does not reach, inputs that
    overflow the arithmetic, or a problem in which nothing is attended; ViolatedBoundError if a value is guaranteed that
    misses the tolerance as measured.

        recommend(problem, 1e-2).overall.value
    """
    require_problem(problem)
    chosen, given = (mechanism, {}) if isinstance(mechanism, Mechanism) else opened(mechanism)
    if chosen.axis is None:
        raise InvalidRequestError(
            f"mechanism {chosen.name}, which has nothing to vary", "one with an axis", "see attnproof list"
        )
    if chosen.axis in given:
        raise InvalidRequestError(
            f"mechanism {chosen.name} with its {chosen.axis} given",
            f"{chosen.axis} left open, as it is what is looked for",
            "leave it out",
        )
    if chosen.formula_error is None:
        raise InvalidRequestError(
            f"mechanism {chosen.name}, whose formula is that of softmax",
            "one that differs from it",
            "see attnproof list",
        )
    _check(tolerance, metric)
    members = [chosen.member(**given, **{chosen.axis: value}) for value in _values(chosen, largest)]
    require_attending(problem)
    check_time(problem, members[:BATCH], checked_positive("seconds", seconds))
    policy = None if arithmetic is None else named_arithmetic(arithmetic)
    how = chosen.form(chosen.forms[0].name if form is None else form).name
    heads = [HeadErrors(problem, index, alone, policy, how) for index, alone in alone_heads(problem)]
    measure = METRICS[metric].of
    limit = None if max_state is None else checked_size("max_state", max_state)
    found, members, left_out = searched(heads, members, measure, tolerance, progress)
    together = [joined([errors[place] for errors in found]) for place in range(len(found[0]))]
    values = [member[chosen.axis] for member in members]
    proposed = None if chosen.proposed is None else chosen.member(**given, **{chosen.axis: chosen.proposed})
    lost = [None if proposed is None else head.nonpositive(proposed) for head in heads]
    per_head = tuple(
        _judged(
            _advice(head.index, group, members, measure, tolerance, head.problem, nonpositive), [head], members, measure
        )
        for head, group, nonpositive in zip(heads, found, lost, strict=True)
    )
    all_lost = None if proposed is None else sum(count or 0 for count in lost)
    overall = _advice(None, together, members, measure, tolerance, problem, all_lost)
    overall = _judged(overall, heads, members, measure)
    member = None if overall.value is None else members[values.index(overall.value)]
    cost = None if member is None else _state_cost(heads[0].problem, member)
    contexts = (None, None) if cost is None else _contexts(problem, cost)
    every = [_state_cost(problem, own) for own in members[: len(together)]]
    own_states = [None if a.value is None else _state_cost(problem, members[values.index(a.value)]) for a in per_head]
    return Recommendation(
        input=problem.name,
        head_size=problem.head_size,
        value_size=problem.value_size,
        mechanism=chosen.name,
        axis=chosen.axis,
        metric=metric,
        tolerance=tolerance,
        arithmetic=arithmetic,
        form=None if arithmetic is None else how,
        largest=values[-1],
        values=tuple(values[: len(together)]),
        members=tuple(member.name for member in members[: len(together)]),
        left_out=left_out,
        proposed=chosen.proposed,
        overall=overall,
        per_head=per_head,
        member=None if member is None else member.name,
        cost=cost,
        memory_context=contexts[0],
        flop_context=contexts[1],
        shared_state=None if cost is None else len(heads) * cost.state_elements,
        own_state=None if None in own_states else sum(own.state_elements for own in own_states if own is not None),
        states=tuple(None if own is None else own.state_elements for own in every),
        max_state=limit,
        reason=_reason(overall, together, problem, members, tolerance, measure, arithmetic),
    )


def _advice(
    head: tuple[int, ...] | None,
    group: Sequence[Errors],
    members: Sequence[Member],
    measure: Measure,
    tolerance: float,
    problem: Problem,
    nonpositive: int | None,
) -> Advice:
    place, guaranteed = (first_place(group, measure, tolerance, bound=bound) for bound in (False, True))
    if guaranteed is not None and (place is None or guaranteed < place):
        name = members[guaranteed].name
        raise ViolatedBoundError(f"{name} is guaranteed on {problem.name}, and misses the tolerance")
    measured = [measure(error.measured, error.exact) for error in group]
    best = int(np.argmin(measured)) if place is None else place
    again = None if place is None else first_place(group, measure, tolerance, after=place, missed=True)
    values = [None if p is None else along(members[p]) for p in (place, guaranteed, again)]
    return Advice(
        head=head,
        value=values[0],
        guaranteed=values[1],
        measured=measured[best],
        best=along(members[best]),
        labels=members[best].labels,
        largest_logit=logit_statistics(problem)[0],
        rows=int(problem.attended_rows.sum()),
        nonpositive_rows=nonpositive,
        nonpositive_found=None,
        fails_again=values[2],
        errors=tuple(measured),
        softmax=None,
        cost=None,
    )


def _judged(advice: Advice, heads: Sequence[HeadErrors], members: Sequence[Member], measure: Measure) -> Advice:
    """Return the advice with what it is to be seen beside: softmax's own error, rows with Z <= 0, costs."""
    known = [head.softmax for head in heads if head.softmax is not None]
    softmax = measure(*(np.concatenate(arrays) for arrays in zip(*known, strict=True))) if known else None
    if advice.value is None:
        return replace(advice, softmax=softmax)
    member = next(member for member in members if along(member) == advice.value)
    first = heads[0].problem
    return replace(
        advice,
        softmax=softmax,
        nonpositive_found=sum(head.nonpositive(member) for head in heads),
        cost=counts_of(member, first.head_size, first.value_size),
    )


def _reason(
    overall: Advice,
    group: Sequence[Errors],
    problem: Problem,
    members: Sequence[Member],
    tolerance: float,
    measure: Measure,
    arithmetic: str | None,
) -> str:
    """Return why no member was enough; empty if one was."""
    if overall.value is not None:
        return ""
    mechanism = members[0].mechanism
    smallest = f"the smallest error is {overall.measured:.2g}, at {mechanism.axis} {overall.best}"
    formula = [measure(error.formula, error.exact) for error in group]
    least = int(np.argmin(formula))
    if formula[least] <= tolerance:
        part = f"{mechanism.formula_error} alone is {formula[least]:.2g} at {mechanism.axis} {along(members[least])}"
        return f"{smallest}; {part}: {arithmetic} is too coarse"
    why: Any = mechanism.hopeless(problem, members)
    if not isinstance(why, str) or "\n" in why:
        raise MechanismError(f"hopeless() of {mechanism.name} gives {why!r}", "one line of text", "mend it")
    return f"{smallest}; {why}" if why else smallest


def _state_cost(problem: Problem, member: Member) -> Cost | None:
    """Return the cost of the first form with a state; None if there is none."""
    forms = (form.name for form in member.mechanism.forms if form.state is not None)
    return next((Variant(member, form).costs(problem) for form in forms), None)


def _contexts(problem: Problem, cost: Cost) -> tuple[int, int | None]:
    """Return the first contexts at which a cost is below conventional attention's, in memory and FLOPs per token."""
    sizes = problem.head_size, problem.value_size
    memory = first_smaller(cost.state_elements, kv_cache_size(1, *sizes))
    if cost.flops_per_token is None:
        return memory, None
    return memory, first_smaller(cost.flops_per_token, conventional_flops_per_token(1, *sizes))


def _values(mechanism: Mechanism, largest: int | None) -> Sequence[int]:
    """Return the values of the axis to try; MechanismError unless they are some, each larger than the one before."""
    found: Any = mechanism.searched(largest)
    whole = isinstance(found, list | tuple | range) and all(type(value) is int for value in found)
    upto = "" if largest is None else f", up to {largest}"
    if not whole or not found or any(one >= other for one, other in pairwise(found)) or (upto and found[-1] > largest):
        expected = f"a list of integers that rise{upto}"
        raise MechanismError(f"the values {found!r} that {mechanism.name} searches", expected, "mend its searched")
    return list(found)


def _check(tolerance: Any, metric: Any) -> None:
    checked_positive("tolerance", tolerance)
    if not isinstance(metric, str) or metric not in METRICS:
        raise unknown(f"unknown metric {metric!r}", metric, METRICS)
