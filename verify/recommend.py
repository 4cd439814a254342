"""How much is enough: the smallest value of a mechanism's axis that meets a tolerance, or none.

For Taylor attention the axis is the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np

from verify.arguments import checked_positive
from verify.attention.contract import Cost, Mechanism, Member
from verify.attention.variant import Variant
from verify.errors import InvalidRequestError, MechanismError, TooLargeError, ViolatedBoundError, unknown
from verify.families.costs import meeting_contexts
from verify.measure.cell import Exact, Setting, require_attending
from verify.measure.decomposition import Decomposer
from verify.measure.metrics import METRICS, logit_statistics, magnitudes
from verify.mechanisms.registry import RECOMMENDED, opened
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem, require_problem
from verify.problem.selection import of_head
from verify.truth.in_blocks import check_time

# Members whose exact values are found in one pass.
_BATCH = 8

# The longest that they may be estimated to take, unless more is allowed.
SECONDS = 10.0


@dataclass(frozen=True)
class Advice:
    """What to take for one head, or for all together (head None).

    value: the smallest along the axis whose measured error meets the tolerance.  guaranteed: the smallest for which the
    bounds do, never below it.  None: none up to the largest asked for.  measured: the metric at `value`, or the
    smallest one there is if none is enough, at `best`.  labels: what tables show of the member at `best`.
    largest_logit: of attended pairs.  nonpositive_rows: of `rows`, those with an exact Z <= 0 at the value that the
    mechanism's authors propose; None if they propose none.  fails_again: the smallest value above `value`, of those
    looked at, that misses the tolerance: more does not always help.
    """

    head: tuple[int, ...] | None
    value: int | None
    guaranteed: int | None
    measured: float
    best: int
    labels: dict[str, Any]
    largest_logit: float
    rows: int
    nonpositive_rows: int | None
    fails_again: int | None


@dataclass(frozen=True)
class Recommendation:
    """The advice for every head and overall, what the overall member costs, or why there is none.

    axis: what is varied.  proposed: the value that the authors propose.  member: overall.  cost: of one head with
    a state; None where the mechanism has none.  memory_context, flop_context: the contexts at which that meets
    conventional attention's cache and its FLOPs per token, to the nearest token; None where the cost is unknown.
    """

    mechanism: str
    axis: str
    metric: str
    tolerance: float
    arithmetic: str | None
    form: str | None
    largest: int
    proposed: int | None
    overall: Advice
    per_head: tuple[Advice, ...]
    member: str | None
    cost: Cost | None
    memory_context: int | None
    flop_context: int | None
    reason: str


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
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Recommendation:
    """Return the smallest value along a mechanism's axis that meets a tolerance on a problem.

    Without an arithmetic the error is that of the formula, and the guarantee rests on its bound alone.  With one it is
    what the form computes in it, against exact softmax on the inputs as they are, and the guarantee adds the exact
    quantisation and the bound on rounding.  form: by default the mechanism's first.  largest: the largest value tried,
    by default what the mechanism proposes.  mechanism: by name also with other parameters, as in "favor:seed=1".
    seconds: the longest that the exact values of the first members may be estimated to take.

    The largest value tried is that up to which the form's features fit into memory, if that is less.

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
    check_time(problem, members[:_BATCH], checked_positive("seconds", seconds))
    policy = None if arithmetic is None else named_arithmetic(arithmetic)
    how = chosen.form(chosen.forms[0].name if form is None else form).name
    heads = [_Head(problem, index, alone, policy, how) for index, alone in _alone(problem)]
    measure = METRICS[metric].of
    found, members = _searched(heads, members, measure, tolerance, progress)
    together = [_joined([errors[place] for errors in found]) for place in range(len(found[0]))]
    values = [member[chosen.axis] for member in members]
    proposed = None if chosen.proposed is None else chosen.member(**given, **{chosen.axis: chosen.proposed})
    lost = [None if proposed is None else head.nonpositive(proposed) for head in heads]
    per_head = tuple(
        _advice(head.index, group, members, measure, tolerance, head.problem, nonpositive)
        for head, group, nonpositive in zip(heads, found, lost, strict=True)
    )
    all_lost = None if proposed is None else sum(count or 0 for count in lost)
    overall = _advice(None, together, members, measure, tolerance, problem, all_lost)
    member = None if overall.value is None else members[values.index(overall.value)]
    cost = None if member is None else _state_cost(heads[0].problem, member)
    contexts = (None, None) if cost is None else _contexts(problem, cost)
    return Recommendation(
        mechanism=chosen.name,
        axis=chosen.axis,
        metric=metric,
        tolerance=tolerance,
        arithmetic=arithmetic,
        form=None if arithmetic is None else how,
        largest=values[-1],
        proposed=chosen.proposed,
        overall=overall,
        per_head=per_head,
        member=None if member is None else member.name,
        cost=cost,
        memory_context=contexts[0],
        flop_context=contexts[1],
        reason=_reason(overall, together, problem, members, tolerance, measure, arithmetic),
    )


@dataclass(frozen=True, eq=False)
class _Error:
    """At one member: |e|, a bound on it, and the exact softmax output, all over the rows that attend to something.

    formula: the part of |e| that no arithmetic changes.
    """

    measured: Float64Array
    bound: Float64Array
    exact: Float64Array
    formula: Float64Array


Measure = Callable[[Float64Array, Float64Array], float]


def _searched(
    heads: Sequence[_Head],
    members: list[Member],
    measure: Measure,
    tolerance: float,
    progress: Callable[[int, int], None],
) -> tuple[list[list[_Error]], list[Member]]:
    """Return the errors of every head, member by member, until all have met the tolerance, and the members there are.

    Those are fewer than were given if the next one needs more memory than the form may take.
    """
    found: list[list[_Error]] = [[] for _ in heads]
    everything = len(members) * len(heads)
    for first in range(0, len(members), _BATCH):
        batch = members[first : first + _BATCH]
        for place, head in enumerate(heads):
            found[place] += head.errors(batch)
            progress(first * len(heads) + len(batch) * (place + 1), everything)
        reached = min(len(errors) for errors in found)
        cut = reached < first + len(batch)
        found = [errors[:reached] for errors in found]
        together = [_joined([errors[place] for errors in found]) for place in range(reached)]
        groups = [*found, together]
        met = (_first(group, measure, tolerance, bound=how) is not None for group in groups for how in (False, True))
        if cut or all(met):
            return found, members[:reached] if cut else members
    return found, members


class _Head:
    """One head as a problem of its own, with its errors by member."""

    def __init__(
        self, whole: Problem, index: tuple[int, ...], problem: Problem, arithmetic: Arithmetic | None, form: str
    ) -> None:
        self.index, self.problem, self.arithmetic, self.form = index, problem, arithmetic, form
        self.rows = problem.attended_rows
        if arithmetic is not None:
            problem.rounded(arithmetic.inputs)  # inputs that overflow it are refused before any work

    def nonpositive(self, member: Member) -> int:
        """Return how many rows have an exact sum of weights that is not positive."""
        return int(Exact(self.problem, [member]).truths.of(member).nonpositive_rows.sum())

    def errors(self, members: Sequence[Member]) -> Iterator[_Error]:
        """Yield the errors of some members, which are worked out together; no more from one that is too large on."""
        exact = Exact(self.problem, members)
        setting = None if self.arithmetic is None else Setting(exact, self.arithmetic)
        for place, member in enumerate(members):
            gaps = (Decomposer(exact.truths, exact.truths) if setting is None else setting.decomposer).gaps(member)
            error, doubt = gaps["formula"]
            formula = magnitudes(error)
            known_bound = exact.formula_bound(member)
            bound = np.full(error.shape, np.inf) if known_bound is None else known_bound
            if setting is not None:
                try:
                    cell = setting.errors(Variant(member, self.form))
                except TooLargeError:
                    if place == 0 and member is members[0] and self._is_first(member):
                        raise
                    return
                total = cell.found.parts["total"]
                error, doubt = total.error, total.doubt
                sure = np.full(error.shape, np.inf) if cell.rounding is None else cell.rounding.sure
                quantisation, unsure = gaps["quantisation"]
                bound = bound + magnitudes(quantisation) + unsure + sure
            rows, size, limit = self.rows, magnitudes(error), magnitudes(bound)
            # the sum of the parts is rounded, and exact values are known to within their radius
            if (size[rows] > (limit + doubt)[rows] * (1 + 2.0**-40)).any():
                raise ViolatedBoundError(f"{member.name} on {self.problem.name}: the error exceeds its bound")
            yield _Error(size[rows], limit[rows], exact.truths.of_softmax().value[rows], formula[rows])

    @staticmethod
    def _is_first(member: Member) -> bool:
        axis = member.mechanism.axis
        assert axis is not None, "recommend varies an axis"
        return bool(member[axis] == member.mechanism.searched(None)[0])


def _alone(problem: Problem) -> Iterator[tuple[tuple[int, ...], Problem]]:
    for head in problem.each_head():
        alone = of_head(problem, head, f"{problem.name}, head {list(head.index)}")
        if alone.attended_rows.any():
            yield head.index, alone


_PARTS = tuple(f.name for f in fields(_Error))


def _joined(errors: Sequence[_Error]) -> _Error:
    return _Error(*(np.concatenate([getattr(e, name) for e in errors]) for name in _PARTS))


def _first(
    group: Sequence[_Error],
    measure: Measure,
    tolerance: float,
    *,
    bound: bool = False,
    after: int = -1,
    missed: bool = False,
) -> int | None:
    """Return the first place, after another one, at which the measured error or its bound meets a tolerance, or not."""
    for place in range(after + 1, len(group)):
        error = group[place]
        met = measure(error.bound if bound else error.measured, error.exact) <= tolerance
        if met != missed:
            return place
    return None


def _advice(
    head: tuple[int, ...] | None,
    group: Sequence[_Error],
    members: Sequence[Member],
    measure: Measure,
    tolerance: float,
    problem: Problem,
    nonpositive: int | None,
) -> Advice:
    place, guaranteed = (_first(group, measure, tolerance, bound=bound) for bound in (False, True))
    if guaranteed is not None and (place is None or guaranteed < place):
        name = members[guaranteed].name
        raise ViolatedBoundError(f"{name} is guaranteed on {problem.name}, and misses the tolerance")
    measured = [measure(error.measured, error.exact) for error in group]
    best = int(np.argmin(measured)) if place is None else place
    again = None if place is None else _first(group, measure, tolerance, after=place, missed=True)
    values = [None if p is None else _along(members[p]) for p in (place, guaranteed, again)]
    return Advice(
        head=head,
        value=values[0],
        guaranteed=values[1],
        measured=measured[best],
        best=_along(members[best]),
        labels=members[best].labels,
        largest_logit=logit_statistics(problem)[0],
        rows=int(problem.attended_rows.sum()),
        nonpositive_rows=nonpositive,
        fails_again=values[2],
    )


def _along(member: Member) -> int:
    along = member.along
    assert isinstance(along, int), "an axis that is searched is an integer"
    return along


def _reason(
    overall: Advice,
    group: Sequence[_Error],
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
        part = f"{mechanism.formula_error} alone is {formula[least]:.2g} at {mechanism.axis} {_along(members[least])}"
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
    """Return the contexts at which a cost meets conventional attention's, in memory and in FLOPs per token."""
    return meeting_contexts(problem.head_size, problem.value_size, cost.state_elements, cost.flops_per_token)


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
