"""What a recommendation says, for one head and for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verify.attention.cost import Cost
from verify.families.costs import FeatureCost


@dataclass(frozen=True)
class Advice:
    """What to take for one head, or for all together (head None).

    value: the smallest along the axis whose measured error meets the tolerance.  guaranteed: the smallest for which the
    bounds do, never below it.  None: none up to the largest asked for.  measured: the metric at `value`, or the
    smallest one there is if none is enough, at `best`.  labels: what tables show of the member at `best`.
    largest_logit: of attended pairs.  nonpositive_rows: of `rows`, those with an exact Z <= 0 at the value that the
    mechanism's authors propose; None if they propose none.  nonpositive_found: the same at `value`, None without one.
    fails_again: the smallest value above `value`, of those looked at, that misses the tolerance: more does not always
    help.  errors: the metric at every value looked at.  softmax: that of conventional softmax's own rounding in the
    arithmetic; None of exact values.  cost: of the features at `value`, of one head; None without a value or features.
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
    nonpositive_found: int | None
    fails_again: int | None
    errors: tuple[float, ...]
    softmax: float | None
    cost: FeatureCost | None


@dataclass(frozen=True)
class Recommendation:
    """The advice for every head and overall, what the overall member costs, or why there is none.

    input, head_size, value_size: of the problem.  axis: what is varied.  values: those looked at, with the names of
    their members.  left_out: why there are fewer than asked for; empty if there are not.  proposed: the value that
    the authors propose.  member: overall.  cost: of one head with a state; None where the mechanism has none.
    memory_context, flop_context: the first contexts at which that is below conventional attention's cache and its
    FLOPs per token; None where the cost is unknown.  shared_state: numbers that all heads hold together at the
    overall value; own_state: each at its own value; None where a head has none.  states: numbers that one head holds
    at every value; None where the mechanism keeps no state.  max_state: what one head may hold, if that was limited;
    within_state: whether it does.
    """

    input: str
    head_size: int
    value_size: int
    mechanism: str
    axis: str
    metric: str
    tolerance: float
    arithmetic: str | None
    form: str | None
    largest: int
    values: tuple[int, ...]
    members: tuple[str, ...]
    left_out: str
    proposed: int | None
    overall: Advice
    per_head: tuple[Advice, ...]
    member: str | None
    cost: Cost | None
    memory_context: int | None
    flop_context: int | None
    shared_state: int | None
    own_state: int | None
    states: tuple[int | None, ...]
    max_state: int | None
    reason: str

    @property
    def within_state(self) -> bool:
        """Whether a head at the overall value holds no more than it may."""
        return self.max_state is None or (self.cost is not None and self.cost.state_elements <= self.max_state)

    @property
    def enough(self) -> bool:
        """Whether some value meets the tolerance overall, and holds no more than it may."""
        return self.overall.value is not None and self.within_state
