"""Which order is enough: the smallest that meets a tolerance on given inputs, measured and guaranteed, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from verify.attention import named_form
from verify.bounds import deviation_range, positivity_radius, rounding_bound, truncation_bound
from verify.cost import TaylorCost, taylor_cost
from verify.errors import InvalidRequestError, TooLargeError, ViolatedBoundError
from verify.measure.decomposition import Decomposer, Truths
from verify.measure.metrics import logit_statistics, magnitudes, ratio, root_mean_square
from verify.numbers.arithmetic import Arithmetic, named_arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem

# Beyond it exact values would still be found, slowly, and features by nobody.
LARGEST_ORDER = 63

# Orders whose exact values are found in one pass.
_BATCH = 8

# The order whose rows with Z <= 0 are told: SA's four terms.
SHOWN_ORDER = 3


@dataclass(frozen=True)
class Metric:
    """One number for an error |e| on exact softmax rows y; larger errors never make it smaller."""

    description: str
    of: Callable[[Float64Array, Float64Array], float]


def _quantile(share: float) -> Callable[[Float64Array, Float64Array], float]:
    return lambda e, y: float(np.quantile(e, share, method="inverted_cdf"))


METRICS = {
    "relative": Metric(
        "||e|| / ||y||, y the exact softmax output",
        lambda e, y: ratio(root_mean_square(e), root_mean_square(np.abs(y))) or 0.0,
    ),
    "rms": Metric("root mean square of |e|, in units of v", lambda e, y: root_mean_square(e)),
    "max": Metric("largest |e|, in units of v", lambda e, y: float(e.max())),
    "median": Metric("median of |e|, in units of v", _quantile(0.5)),
    "q95": Metric("|e| that 95 % of the elements do not exceed", _quantile(0.95)),
    "q99": Metric("|e| that 99 % of the elements do not exceed", _quantile(0.99)),
}


@dataclass(frozen=True)
class Advice:
    """What to take for one head, or for all together (head None).

    order: the smallest whose measured error meets the tolerance; terms = order + 1.  guaranteed_order: the smallest for
    which the bounds do, never below it.  None: none up to the largest asked for.  measured: the metric at the order, or
    the smallest one there is if none is enough, at best_order.  largest_logit: of attended pairs.  nonpositive_rows: of
    `rows`, those with an exact Z <= 0 at order SHOWN_ORDER.  fails_again: the smallest order above `order`, of those
    looked at, that misses the tolerance: more terms do not always help.
    """

    head: tuple[int, ...] | None
    order: int | None
    terms: int | None
    guaranteed_order: int | None
    measured: float
    best_order: int
    largest_logit: float
    rows: int
    nonpositive_rows: int
    fails_again: int | None


@dataclass(frozen=True)
class Recommendation:
    """The advice for every head and overall, the cost of the overall order, or the reason why there is none."""

    metric: str
    tolerance: float
    arithmetic: str | None
    form: str | None
    max_order: int
    overall: Advice
    per_head: tuple[Advice, ...]
    cost: TaylorCost | None
    reason: str


def recommend(
    problem: Problem,
    tolerance: float,
    *,
    metric: str = "relative",
    arithmetic: str | None = None,
    form: str = "scores",
    max_order: int = 31,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Recommendation:
    """Return the smallest order of Taylor attention that meets a tolerance on a problem.

    Without an arithmetic the error is exact truncation, and the guarantee rests on the bound of each row's logits
    alone.  With one it is what the form computes in it, against exact softmax on the inputs as they are, and the
    guarantee adds the exact quantisation and the bound on rounding.

    The largest order tried is that up to which the form's features fit into memory, if that is less than max_order.

    Raises InvalidRequestError for a tolerance that is not above 0, an unknown metric, arithmetic or form, orders below
    0 or above LARGEST_ORDER, inputs that overflow the arithmetic, or a problem in which nothing is attended;
    ViolatedBoundError if an order is guaranteed that misses the tolerance as measured.
    """
    _check(tolerance, metric, max_order)
    if not problem.attended_rows.any():
        raise InvalidRequestError(
            f"{problem.name} in which no query attends to any key", "at least one attended key", "check mask and shapes"
        )
    policy = None if arithmetic is None else named_arithmetic(arithmetic)
    heads = [_Head(problem, index, alone, policy, form) for index, alone in _alone(problem)]
    found: list[list[_Error]] = [[] for _ in heads]
    measure = METRICS[metric].of
    for first in range(0, max_order + 1, _BATCH):
        orders = range(first, min(first + _BATCH, max_order + 1))
        for place, head in enumerate(heads):
            found[place] += head.errors(orders)
            progress(first * len(heads) + len(orders) * (place + 1), (max_order + 1) * len(heads))
        reached = min(len(errors) for errors in found)
        if reached < orders.stop:  # the next order needs more memory than the form may take
            found, max_order = [errors[:reached] for errors in found], reached - 1
        together = [_joined([errors[order] for errors in found]) for order in range(reached)]
        groups = [*found, together]
        met = (_first(group, measure, tolerance, bound=how) is not None for group in groups for how in (False, True))
        if reached < orders.stop or all(met):
            break
    per_head = tuple(
        _advice(head.index, group, measure, tolerance, head.problem, head.nonpositive)
        for head, group in zip(heads, found, strict=True)
    )
    overall = _advice(None, together, measure, tolerance, problem, sum(head.nonpositive for head in heads))
    return Recommendation(
        metric=metric,
        tolerance=tolerance,
        arithmetic=arithmetic,
        form=None if arithmetic is None else form,
        max_order=max_order,
        overall=overall,
        per_head=per_head,
        cost=None if overall.order is None else taylor_cost(problem.head_size, overall.order, problem.value_size),
        reason=_reason(overall, together, problem, max_order, tolerance, measure, arithmetic),
    )


@dataclass(frozen=True, eq=False)
class _Error:
    """At one order: |e|, a bound on it, and the exact softmax output, all over the rows that attend to something.

    truncation: the part of |e| that no arithmetic changes.
    """

    measured: Float64Array
    bound: Float64Array
    exact: Float64Array
    truncation: Float64Array


class _Head:
    """One head as a problem of its own, with its errors by order."""

    def __init__(
        self, whole: Problem, index: tuple[int, ...], problem: Problem, arithmetic: Arithmetic | None, form: str
    ) -> None:
        self.index, self.problem, self.arithmetic = index, problem, arithmetic
        self.form = named_form("taylor", form)
        self.rows = problem.attended_rows
        self.softmax = Truths(problem, ()).of("softmax")
        self.nonpositive = int(Truths(problem, ()).of("taylor", SHOWN_ORDER).nonpositive_rows.sum())
        self.rounded = problem if arithmetic is None else problem.rounded(arithmetic.inputs)

    def errors(self, orders: Sequence[int]) -> Iterator[_Error]:
        """Yield the errors of some orders, which are worked out together; no more from one that is too large on."""
        truths = Truths(self.problem, orders)
        rounded = truths if self.rounded is self.problem else Truths(self.rounded, orders)
        decomposer = Decomposer(truths, rounded)
        for order in orders:
            gaps = decomposer.gaps("taylor", order)
            bound = truncation_bound(self.problem, order)
            error, doubt = gaps["truncation"]
            truncation = magnitudes(error)
            if self.arithmetic is not None:
                try:
                    output = self.form.run(self.problem, self.arithmetic, order)
                except TooLargeError:
                    if order == 0:
                        raise
                    return
                total = decomposer.of(output.value, "taylor", order).parts["total"]
                error, doubt = total.error, total.doubt
                own = rounded.of("taylor", order)
                sure = rounding_bound(self.rounded, own, self.form.name, self.arithmetic, order).sure
                quantisation, unsure = gaps["quantisation"]
                bound = bound + magnitudes(quantisation) + unsure + sure
            rows, size, limit = self.rows, magnitudes(error), magnitudes(bound)
            # the sum of the parts is rounded, and exact values are known to within their radius
            if (size[rows] > (limit + doubt)[rows] * (1 + 2.0**-40)).any():
                raise ViolatedBoundError(f"order {order} on {self.problem.name}: the error exceeds its bound")
            yield _Error(size[rows], limit[rows], self.softmax.value[rows], truncation[rows])


def _alone(problem: Problem) -> Iterator[tuple[tuple[int, ...], Problem]]:
    for head in problem.each_head():
        alone = Problem(
            head.q,
            head.k,
            head.v,
            problem.scale,
            problem.causal,
            head.mask,
            problem.alignment,
            name=f"{problem.name}, head {list(head.index)}",
        )
        if alone.attended_rows.any():
            yield head.index, alone


_PARTS = tuple(f.name for f in fields(_Error))


def _joined(errors: Sequence[_Error]) -> _Error:
    return _Error(*(np.concatenate([getattr(e, name) for e in errors]) for name in _PARTS))


def _first(
    group: Sequence[_Error],
    measure: Callable[[Float64Array, Float64Array], float],
    tolerance: float,
    *,
    bound: bool = False,
    after: int = -1,
    missed: bool = False,
) -> int | None:
    """Return the first order, after another one, at which the measured error or its bound meets a tolerance, or not."""
    for order in range(after + 1, len(group)):
        error = group[order]
        met = measure(error.bound if bound else error.measured, error.exact) <= tolerance
        if met != missed:
            return order
    return None


def _advice(
    head: tuple[int, ...] | None,
    group: Sequence[_Error],
    measure: Callable[[Float64Array, Float64Array], float],
    tolerance: float,
    problem: Problem,
    nonpositive: int,
) -> Advice:
    order, guaranteed = (_first(group, measure, tolerance, bound=bound) for bound in (False, True))
    if guaranteed is not None and (order is None or guaranteed < order):
        raise ViolatedBoundError(f"order {guaranteed} is guaranteed on {problem.name}, and misses the tolerance")
    values = [measure(error.measured, error.exact) for error in group]
    best = int(np.argmin(values)) if order is None else order
    return Advice(
        head=head,
        order=order,
        terms=None if order is None else order + 1,
        guaranteed_order=guaranteed,
        measured=values[best],
        best_order=best,
        largest_logit=logit_statistics(problem)[0],
        rows=int(problem.attended_rows.sum()),
        nonpositive_rows=nonpositive,
        fails_again=None if order is None else _first(group, measure, tolerance, after=order, missed=True),
    )


def _reason(
    overall: Advice,
    group: Sequence[_Error],
    problem: Problem,
    max_order: int,
    tolerance: float,
    measure: Callable[[Float64Array, Float64Array], float],
    arithmetic: str | None,
) -> str:
    """Return why no order was enough; empty if one was."""
    if overall.order is not None:
        return ""
    smallest = f"the smallest error is {overall.measured:.2g}, at order {overall.best_order}"
    truncation = [measure(error.truncation, error.exact) for error in group]
    least = int(np.argmin(truncation))
    if truncation[least] <= tolerance:
        return f"{smallest}; truncation alone is {truncation[least]:.2g} at order {least}: {arithmetic} is too coarse"
    low, high = _logit_range(problem)
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"{smallest}; logits leave float64"
    off = max(abs(x) for x in deviation_range(max_order, low, high))
    why = f"logits go from {low:.3g} to {high:.3g}, where order {max_order} changes exp by up to {off:.2g} times itself"
    odd = max_order - (max_order + 1) % 2
    radius = positivity_radius(odd) if odd > 0 else None
    if radius is not None and low < -float(radius.mid()):
        why += f"; weights of order {odd} are negative below -{float(radius.mid()):.3g}"
    return f"{smallest}; {why}"


def _logit_range(problem: Problem) -> tuple[float, float]:
    """Return the smallest and the largest logit of attended pairs, in float64."""
    scale = problem.head_size**-0.5 if problem.scale is None else problem.scale
    with np.errstate(over="ignore", invalid="ignore"):
        logits = [(scale * (head.q @ head.k.T))[head.attended()] for head in problem.each_head()]
    found = np.concatenate(logits)
    return float(found.min()), float(found.max())


def _check(tolerance: float, metric: str, max_order: int) -> None:
    if not 0.0 < tolerance < np.inf:
        raise InvalidRequestError(f"tolerance {tolerance}", "a number above 0", "choose one such as 1e-3")
    if metric not in METRICS:
        raise InvalidRequestError(f"unknown metric {metric!r}", "one of " + ", ".join(METRICS), "choose one of these")
    if not 0 <= max_order <= LARGEST_ORDER:
        raise InvalidRequestError(
            f"a largest order of {max_order}", f"an integer from 0 to {LARGEST_ORDER}", "choose another one"
        )
