"""The errors of every head along an axis, until all have met a tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from verify.attention.contract import Member
from verify.attention.variant import Variant
from verify.errors import TooLargeError, ViolatedBoundError
from verify.measure.decomposition import Decomposer
from verify.measure.exact import Exact, Setting
from verify.measure.metrics import magnitudes
from verify.numbers.arithmetic import Arithmetic
from verify.numbers.arrays import Float64Array
from verify.problem import Problem
from verify.problem.selection import of_head

# Members whose exact values are found in one pass.
BATCH = 8


@dataclass(frozen=True, eq=False)
class Errors:
    """At one member: |e|, a bound on it, and the exact softmax output, all over the rows that attend to something.

    formula: the part of |e| that no arithmetic changes.
    """

    measured: Float64Array
    bound: Float64Array
    exact: Float64Array
    formula: Float64Array


Measure = Callable[[Float64Array, Float64Array], float]


def searched(
    heads: Sequence[HeadErrors],
    members: list[Member],
    measure: Measure,
    tolerance: float,
    progress: Callable[[int, int], None],
) -> tuple[list[list[Errors]], list[Member], str]:
    """Return the errors of every head, member by member, until all have met the tolerance, and the members there are.

    Those are fewer than were given if the next one needs more memory than the form may take: why, comes last.
    """
    found: list[list[Errors]] = [[] for _ in heads]
    everything = len(members) * len(heads)
    for first in range(0, len(members), BATCH):
        batch = members[first : first + BATCH]
        for place, head in enumerate(heads):
            found[place] += head.errors(batch)
            progress(first * len(heads) + len(batch) * (place + 1), everything)
        reached = min(len(errors) for errors in found)
        cut = reached < first + len(batch)
        found = [errors[:reached] for errors in found]
        together = [joined([errors[place] for errors in found]) for place in range(reached)]
        groups = [*found, together]
        met = (
            first_place(group, measure, tolerance, bound=how) is not None for group in groups for how in (False, True)
        )
        if cut:
            why = next(head.too_large for head in heads if head.too_large)
            named = f"{members[0].mechanism.axis} {along(members[reached])}"
            more = f" to {along(members[-1])}" if reached < len(members) - 1 else ""
            return found, members[:reached], f"{named}{more}: {why}"
        if all(met):
            return found, members, ""
    return found, members, ""


class HeadErrors:
    """One head as a problem of its own, with its errors by member."""

    def __init__(
        self, whole: Problem, index: tuple[int, ...], problem: Problem, arithmetic: Arithmetic | None, form: str
    ) -> None:
        self.index, self.problem, self.arithmetic, self.form = index, problem, arithmetic, form
        self.rows = problem.attended_rows
        self.too_large = ""
        # conventional softmax's own rounding in the arithmetic, |e|, and the exact output; None without an arithmetic
        self.softmax: tuple[Float64Array, Float64Array] | None = None
        if arithmetic is not None:
            problem.rounded(arithmetic.inputs)  # inputs that overflow it are refused before any work

    def nonpositive(self, member: Member) -> int:
        """Return how many rows have an exact sum of weights that is not positive."""
        return int(Exact(self.problem, [member]).truths.of(member).nonpositive_rows.sum())

    def errors(self, members: Sequence[Member]) -> Iterator[Errors]:
        """Yield the errors of some members, which are worked out together; no more from one that is too large on."""
        exact = Exact(self.problem, members)
        setting = None if self.arithmetic is None else Setting(exact, self.arithmetic)
        if setting is not None and self.softmax is None:
            self.softmax = magnitudes(setting.baseline()[1][self.rows]), setting.softmax.value[self.rows]
        for place, member in enumerate(members):
            gaps = (Decomposer(exact.truths, exact.truths) if setting is None else setting.decomposer).gaps(member)
            error, doubt = gaps["formula"]
            formula = magnitudes(error)
            known_bound = exact.formula_bound(member)
            bound = np.full(error.shape, np.inf) if known_bound is None else known_bound
            if setting is not None:
                try:
                    cell = setting.errors(Variant(member, self.form))
                except TooLargeError as refusal:
                    if place == 0 and member is members[0] and self._is_first(member):
                        raise
                    self.too_large = f"{refusal.given}; expected {refusal.expected}"
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
            yield Errors(size[rows], limit[rows], exact.truths.of_softmax().value[rows], formula[rows])

    @staticmethod
    def _is_first(member: Member) -> bool:
        axis = member.mechanism.axis
        assert axis is not None, "recommend varies an axis"
        return bool(member[axis] == member.mechanism.searched(None)[0])


def alone_heads(problem: Problem) -> Iterator[tuple[tuple[int, ...], Problem]]:
    """Yield the heads that attend to something, each as a problem of its own."""
    for head in problem.each_head():
        alone = of_head(problem, head, f"{problem.name}, head {list(head.index)}")
        if alone.attended_rows.any():
            yield head.index, alone


_PARTS = tuple(f.name for f in fields(Errors))


def joined(errors: Sequence[Errors]) -> Errors:
    """Return the errors of several heads at one member, one after the other."""
    return Errors(*(np.concatenate([getattr(e, name) for e in errors]) for name in _PARTS))


def first_place(
    group: Sequence[Errors],
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


def along(member: Member) -> int:
    """Return the value of a member on its axis."""
    value = member.along
    assert isinstance(value, int), "an axis that is searched is an integer"
    return value
